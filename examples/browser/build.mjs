// Makes the page one file that works from anywhere, a mail attachment too: node build.mjs OUT.html
import { readFile, writeFile } from "node:fs/promises";
import { build } from "esbuild";

const here = (name) => new URL(name, import.meta.url);
const [out = "kdump-header.html"] = process.argv.slice(2);
const { outputFiles } = await build({
  entryPoints: [here("decode.mjs").pathname],
  bundle: true,
  format: "esm",
  platform: "browser",
  target: "es2022",
  minify: true,
  write: false,
});
const script = outputFiles[0].text.replaceAll("</script", "<\\/script");
const page = await readFile(here("decode.html"), "utf8");
await writeFile(
  out,
  page.replace(/<!-- The module[\s\S]*?<\/script>/, () => `<script type="module">\n${script}</script>`),
);
