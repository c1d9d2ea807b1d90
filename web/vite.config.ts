import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import vue from '@vitejs/plugin-vue'
import { defineConfig, type Plugin } from 'vite'

/** All that goes into the page. */
const SOURCES = ['index.html', 'package-lock.json', 'vite.config.ts', ...filesIn('public'), ...filesIn('src')]

/** Names the page by its sources: the same sources, the same name. */
function buildName(): string {
  const hash = createHash('sha256')
  for (const source of SOURCES.sort()) hash.update(`${source}\0`).update(readFileSync(join(import.meta.dirname, source)))
  return hash.digest('hex').slice(0, 12)
}

function filesIn(folder: string): string[] {
  const entries = readdirSync(join(import.meta.dirname, folder), { recursive: true, withFileTypes: true })
  return entries.filter((entry) => entry.isFile()).map((entry) => relative(import.meta.dirname, join(entry.parentPath, entry.name)))
}

const build = buildName()

/** Writes the page's name to `build.txt`, which a gateway tells its browsers, so that an old page knows that it is old. */
const buildFile: Plugin = {
  name: 'build-file',
  generateBundle() {
    this.emitFile({ type: 'asset', fileName: 'build.txt', source: build })
  },
}

export default defineConfig({
  plugins: [vue(), buildFile],
  define: { __VUE_OPTIONS_API__: false, __VUE_PROD_DEVTOOLS__: false, __WEB_BUILD__: JSON.stringify(build) },
  server: {
    proxy: { '/ws': { target: 'http://127.0.0.1:3000', ws: true }, '/v1': 'http://127.0.0.1:3000', '/avatars': 'http://127.0.0.1:3000' },
  },
})
