# Two commands: `make demo` shows the main job on a real kernel, `make test` checks everything.
# Both install what they need: npm packages by the lock file here, QEMU and kernels by `lab run` itself.

.DELETE_ON_ERROR:
.PHONY: demo test build deb release clean

demo: build
	node dist/cli/main.js lab run $(ARGS)

test: build
	node test/run.mjs

build: node_modules/.package-lock.json
	npm run --silent build

# kdump-hotplug_VERSION_ARCH.deb here; where else: make deb DEB=DIRECTORY
deb: build
	node deploy/debian/build-deb.mjs $(DEB)

# Everything that is handed out, into release/; where else: make release OUT=DIRECTORY; twice, and compared: make release OUT=--check
release: node_modules/.package-lock.json
	node scripts/release.mjs $(OUT)

# npm writes this file last: it is newer than the lock file only after a whole installation.
node_modules/.package-lock.json: package.json package-lock.json
	@command -v npm >/dev/null || { echo 'npm was not found: install Node 20.19 or newer with npm (Debian 13: apt-get install nodejs npm)' >&2; exit 2; }
	npm ci
	@touch $@

clean:
	rm -rf dist node_modules
