/** What the build puts in (`vite.config.ts`). */

/** Names this page by its sources. */
declare const __WEB_BUILD__: string
