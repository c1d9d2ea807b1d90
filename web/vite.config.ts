import vue from '@vitejs/plugin-vue'
import { defineConfig } from 'vite'

export default defineConfig({
  plugins: [vue()],
  define: { __VUE_OPTIONS_API__: false, __VUE_PROD_DEVTOOLS__: false },
  server: {
    proxy: { '/ws': { target: 'http://127.0.0.1:3000', ws: true }, '/v1': 'http://127.0.0.1:3000', '/avatars': 'http://127.0.0.1:3000' },
  },
})
