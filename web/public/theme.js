// Before the first paint, so that the other theme does not flash. The choice itself is src/composables/settings.ts's.
document.documentElement.dataset.theme = localStorage.getItem('parlor.theme') ?? 'system'
