/**
 * Colours for code. Loaded with the first block that names its language, and kept small: the languages that people
 * paste into chats.
 */
import { createLowlight } from 'lowlight'
import bash from 'highlight.js/lib/languages/bash'
import css from 'highlight.js/lib/languages/css'
import diff from 'highlight.js/lib/languages/diff'
import go from 'highlight.js/lib/languages/go'
import json from 'highlight.js/lib/languages/json'
import python from 'highlight.js/lib/languages/python'
import rust from 'highlight.js/lib/languages/rust'
import sql from 'highlight.js/lib/languages/sql'
import typescript from 'highlight.js/lib/languages/typescript'
import xml from 'highlight.js/lib/languages/xml'
import yaml from 'highlight.js/lib/languages/yaml'
import { h, type VNodeChild } from 'vue'

const lowlight = createLowlight({ bash, css, diff, go, json, python, rust, sql, typescript, xml, yaml })
lowlight.registerAlias({ typescript: ['js', 'jsx', 'javascript'], bash: ['shell', 'console'] })

type Nodes = ReturnType<typeof lowlight.highlight>['children']

/** The code with a class on each word that has a colour; nothing for a language that we do not know. */
export function highlight(code: string, language: string): VNodeChild[] | undefined {
  return lowlight.registered(language) ? draw(lowlight.highlight(language, code).children) : undefined
}

function draw(nodes: Nodes): VNodeChild[] {
  return nodes.map((node) => {
    if (node.type === 'text') return node.value
    if (node.type === 'element') return h('span', { class: node.properties.className as string[] }, draw(node.children as Nodes))
    return undefined
  })
}
