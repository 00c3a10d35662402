# Two commands: `make demo` shows the main job on a real kernel, `make test` checks everything.
# Both install what they need: npm packages by the lock file here, QEMU and kernels by `lab run` itself.

.DELETE_ON_ERROR:
.PHONY: demo test build deb release clean node

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
node_modules/.package-lock.json: package.json package-lock.json | node
	npm ci
	@touch $@

# An older Node would install everything, with warnings, and fail in the middle of the build.
NODE_WANTED = Node 20.19 or newer with npm is needed: on Debian 13 apt-get install nodejs npm gives it; Debian 12 has Node 18, so take it from nodejs.org there
node:
	@for program in node npm; do command -v $$program >/dev/null || { echo "$$program was not found. $(NODE_WANTED)" >&2; exit 2; }; done
	@node -e 'const [major, minor] = process.versions.node.split(".").map(Number); process.exit(major > 20 || (major === 20 && minor >= 19) ? 0 : 1)' || { echo "This is Node $$(node --version). $(NODE_WANTED)" >&2; exit 2; }

clean:
	rm -rf dist node_modules
