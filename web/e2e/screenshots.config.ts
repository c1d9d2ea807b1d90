/** The pictures are no test: they have a run of their own. */
import config from '../playwright.config.ts'

export default { ...config, testDir: '.', testMatch: 'screenshots.ts' }
