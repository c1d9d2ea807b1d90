import vue from 'eslint-plugin-vue'
import a11y from 'eslint-plugin-vuejs-accessibility'
import globals from 'globals'
import ts from 'typescript-eslint'

export default ts.config(
  { ignores: ['dist', 'src/gen', 'test-results'] },
  ...ts.configs.recommended,
  ...vue.configs['flat/recommended-error'],
  ...a11y.configs['flat/recommended'],
  {
    languageOptions: { globals: globals.browser, parserOptions: { parser: ts.parser } },
    rules: {
      'vue/no-v-html': 'error',
      // The layout of templates is a matter of taste, and ours is kept by hand.
      'vue/max-attributes-per-line': 'off',
      'vue/singleline-html-element-content-newline': 'off',
      'vue/html-self-closing': 'off',
      'vue/attributes-order': 'off',
      // A scrolling region must take focus, so that the keyboard can scroll it.
      'vuejs-accessibility/no-static-element-interactions': 'off',
      'vuejs-accessibility/label-has-for': ['error', { required: { some: ['nesting', 'id'] } }],
      // Frames come as JSON of which nothing is known; `protocol/frames.ts` is where they get a type.
      '@typescript-eslint/no-explicit-any': 'off',
    },
  },
)
