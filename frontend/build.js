/**
 * Builds the one module that both hosts load, and the licence notices of what it contains.
 *
 * The output holds nothing that depends on the machine (no paths, no dates), so that a second build
 * is byte-identical and CI can compare it with the committed file.
 */
import { readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const target = join(here, "../factviz/views/static");

/**
 * esbuild's text loader does not minify style sheets.
 * @type {esbuild.Plugin}
 */
const minifiedCss = {
  name: "minified-css",
  setup(build) {
    build.onLoad({ filter: /\.css$/ }, async ({ path }) => {
      const source = await readFile(path, "utf8");
      const { code } = await esbuild.transform(source, {
        loader: "css",
        minify: true,
        target: "chrome125",
      });
      return { contents: code.trim(), loader: "text" };
    });
  },
};

/**
 * The packages of which at least one byte is in the bundle, in alphabetical order.
 * @param {esbuild.Metafile} metafile
 * @returns {string[]}
 */
function bundledPackages(metafile) {
  const [output] = Object.values(metafile.outputs);
  const inputs = Object.entries(output.inputs).filter(([, { bytesInOutput }]) => bytesInOutput > 0);
  const names = inputs.flatMap(
    ([path]) => path.match(/node_modules\/((?:@[^/]+\/)?[^/]+)\//)?.[1] ?? [],
  );
  return [...new Set(names)].sort();
}

/** @param {string[]} names */
async function notices(names) {
  if (!names.length) return "factviz.js contains no code but factviz's own (MIT, see LICENSE).\n";
  const texts = await Promise.all(
    names.map(async (name) => {
      const folder = join(here, "node_modules", name);
      const { version, license } = JSON.parse(await readFile(join(folder, "package.json"), "utf8"));
      const text = await readFile(join(folder, "LICENSE"), "utf8");
      return `${name} ${version} (${license})\n\n${text.trim()}\n`;
    }),
  );
  const rule = `\n${"-".repeat(72)}\n\n`;
  return ["factviz.js contains code of these packages, under their licences.\n", ...texts].join(
    rule,
  );
}

const { metafile, outputFiles } = await esbuild.build({
  absWorkingDir: here,
  entryPoints: ["src/main.js"],
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  // Inlined in pages of unknown encoding: escapes are safer than raw characters.
  charset: "ascii",
  legalComments: "none",
  metafile: true,
  write: false,
  outfile: "factviz.js",
  plugins: [minifiedCss],
});
await writeFile(join(target, "factviz.js"), outputFiles[0].contents);
await writeFile(join(target, "LICENSES.txt"), await notices(bundledPackages(metafile)));
process.stdout.write(`factviz.js: ${outputFiles[0].contents.length} bytes\n`);
