// console/src to src/admin/page, or to the directory given: one script, one stylesheet, one page, one icon.
import { build } from 'esbuild';
import { copyFile, mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const to = process.argv[2] ?? join(here, '../src/admin/page');
await mkdir(to, { recursive: true });
await build({
  absWorkingDir: here,
  entryPoints: { console: 'src/main.ts' },
  bundle: true,
  minify: true,
  format: 'esm',
  target: ['chrome109', 'firefox115', 'safari16.4'],
  charset: 'utf8',
  legalComments: 'inline',
  outdir: to,
  logLevel: 'warning',
});
for (const file of ['index.html', 'console.svg']) await copyFile(join(here, 'src', file), join(to, file));
