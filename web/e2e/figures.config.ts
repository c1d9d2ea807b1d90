import base from '../playwright.config.ts'

export default { ...base, testDir: '.', testMatch: 'figures.ts', timeout: 600_000 }
