// Bundles src/ into dist/: index.html, sockjs-client's own script, and under assets/ one script, one style sheet, the icon and the
// licences of what is bundled. Names under assets/ carry a hash of their content, so they may be cached for ever.
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { copyFile, mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import * as esbuild from 'esbuild';

const root = path.dirname(fileURLToPath(import.meta.url));
const dist = path.join(root, 'dist');
const at = (...parts) => path.join(root, ...parts);

const options = {
  absWorkingDir: root,
  entryPoints: ['src/main.ts'],
  outdir: 'dist/assets',
  entryNames: 'stentor-[hash]',
  bundle: true,
  format: 'iife',
  target: 'es2022',
  minify: true,
  legalComments: 'none',
  metafile: true,
  charset: 'utf8',
  // sockjs-client is written for CommonJS bundlers: it names `global`, and loads its debug output unless in production.
  define: { global: 'globalThis', 'process.env.NODE_ENV': '"production"' },
  plugins: [{ name: 'page', setup: (build) => build.onEnd(writePage) }],
};

/** Writes what stands beside the bundle: the icon, the licences and the page that names them all. */
async function writePage(result) {
  if (result.errors.length > 0) return;
  const outputs = Object.keys(result.metafile.outputs).map((file) => path.basename(file));
  const icon = await readFile(at('src/icon.svg'));
  const iconName = `icon-${createHash('sha256').update(icon).digest('hex').slice(0, 8)}.svg`;
  const names = {
    script: outputs.find((name) => name.endsWith('.js')),
    style: outputs.find((name) => name.endsWith('.css')),
    icon: iconName,
  };
  const page = await readFile(at('src/index.html'), 'utf8');
  await writeFile(path.join(dist, 'assets', iconName), icon);
  // For pages that load it from here: that of the iframe transports, and those of others.
  await copyFile(at('node_modules/sockjs-client/dist/sockjs.min.js'), path.join(dist, 'sockjs.min.js'));
  await writeFile(path.join(dist, 'assets', 'licenses.txt'), await licenses(result.metafile));
  await writeFile(
    path.join(dist, 'index.html'),
    page.replace(/\{\{(\w+)\}\}/g, (_, key) => `/assets/${names[key]}`),
  );
}

/** The licence texts of every package that went into the bundle. */
async function licenses(metafile) {
  const packages = new Set();
  for (const input of Object.keys(metafile.inputs)) {
    const name = /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input)?.[1];
    if (name) packages.add(name);
  }
  const texts = [];
  for (const name of [...packages].sort()) {
    const folder = at('node_modules', name);
    const { version, license } = JSON.parse(await readFile(path.join(folder, 'package.json'), 'utf8'));
    const file = (await readdir(folder)).find((entry) => /^licen[cs]e/i.test(entry));
    const text = file && existsSync(path.join(folder, file)) ? await readFile(path.join(folder, file), 'utf8') : license;
    texts.push(`${name} ${version} (${license})\n\n${text.trim()}\n`);
  }
  return texts.join(`\n${'-'.repeat(78)}\n\n`);
}

await rm(dist, { recursive: true, force: true });
await mkdir(path.join(dist, 'assets'), { recursive: true });
if (process.argv.includes('--watch')) {
  const context = await esbuild.context(options);
  await context.watch();
} else {
  const { metafile } = await esbuild.build(options);
  for (const [file, { bytes }] of Object.entries(metafile.outputs)) {
    console.log(`${file}  ${(bytes / 1024).toFixed(1)} KiB`);
  }
}
