/**
 * Why something did not happen, as the page itself says it in the place of a server, and in a server's language. The
 * catalogues of `words/` have them too.
 */
export const NO_ANSWER = 'No answer came.'
export const UNREACHABLE = 'The chat cannot be reached right now.'
export const SIGNED_OUT = 'Your sign-in does not open this room any more.'
