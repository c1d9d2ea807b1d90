/** Starts the page in its reader's language and theme. */
import { createApp, watch } from 'vue'
import App from './App.vue'
import { language, theme } from './composables/settings.ts'
import { bestLanguage, speak } from './words/index.ts'
import './styles/index.css'

/** `?lang=` wins over the choice, so that a link can show the page in a language. */
function preferredLanguages(): readonly string[] {
  const asked = new URLSearchParams(location.search).get('lang')
  const chosen = language.value === 'system' ? [] : [language.value]
  return [...(asked ? [asked] : []), ...chosen, ...navigator.languages]
}

watch(theme, (chosen) => (document.documentElement.dataset.theme = chosen))
watch(language, () => speak(bestLanguage(preferredLanguages())))
await speak(bestLanguage(preferredLanguages()))
createApp(App).mount('#app')
