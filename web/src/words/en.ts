/**
 * Every word of the page, in English. This catalogue is the type of all others: a word that one of them lacks is an
 * error of the build. A word with something in it is a function of that.
 */
import { NO_ANSWER, SIGNED_OUT, UNREACHABLE } from '../reasons.ts'
import { counted, listed } from './grammar.ts'

const n = counted('en')

export const en = {
  // The page.
  skip: 'Skip to the message box',
  rooms: 'Rooms',
  members: 'Members',
  messages: 'Messages',
  showRooms: 'Rooms',
  close: 'Close',
  cancel: 'Cancel',
  memberCount: n({ one: '# member', other: '# members' }),
  moreMembers: n({ one: 'and # more', other: 'and # more' }),
  you: 'you',
  bot: 'bot',
  guest: 'guest',
  unread: n({ one: '# unread message', other: '# unread messages' }),
  findRoom: 'Find or open a room',
  roomName: 'Name of a room',
  openRoom: (room: string) => `Open ${room}`,
  noRoomFound: 'A name has 1 to 64 of a–z, 0–9, dot, dash and underscore.',
  noSuchRoom: 'No such room',
  noSuchRoomWhy: 'A room’s name has 1 to 64 small letters a–z, digits, dots, dashes and underscores.',
  backToLobby: 'Go to the lobby',

  // The connection.
  connecting: 'Connecting…',
  connectionLost: 'Connection lost. Coming back…',
  inSeconds: n({ one: 'in # second', other: 'in # seconds' }),
  offline: 'You are offline.',
  disconnected: 'Disconnected:',
  noAnswer: NO_ANSWER,
  unreachable: UNREACHABLE,
  signedOut: SIGNED_OUT,
  retryNow: 'Retry now',
  rejoin: 'Rejoin',
  newVersion: 'There is a new version of this page.',
  reload: 'Reload',

  // The timeline.
  noMessages: 'No messages yet',
  noMessagesHint: 'Say the first word, and whoever comes later will find it here.',
  beginning: 'Beginning of the room',
  loadingOlder: 'Loading older messages…',
  lost: 'The server lost what was said before. The room begins anew here.',
  joinAgain: 'Join again',
  newMessages: 'New messages',
  jumpToLatest: n({ other: 'Jump to latest (#)' }),
  newHere: 'New',
  toLatest: 'Jump to latest',
  messageGone: 'This message is not kept any more.',
  typing: (names: readonly string[], others: number) =>
    others ? 'Several people are typing…' : `${listed('en', names, 0, String)} ${names.length === 1 ? 'is' : 'are'} typing…`,
  removedMessage: 'Message deleted',
  sending: 'Sending…',
  notSent: 'Not sent:',
  retry: 'Retry',
  discard: 'Discard',
  cameIn: (names: readonly string[], others: number) => `${listed('en', names, others, n({ one: '# other', other: '# others' }))} joined`,
  wentOut: (names: readonly string[], others: number) => `${listed('en', names, others, n({ one: '# other', other: '# others' }))} left`,
  code: 'Code',
  codeIn: (language: string) => `Code in ${language}`,
  copy: 'Copy',
  copied: 'Copied',

  // What is done to messages.
  actions: 'Actions',
  react: 'React',
  reactWith: (emoji: string) => `React with ${emoji}`,
  anyEmoji: 'Any other emoji',
  reactions: 'Reactions',
  reactedBy: (names: readonly string[], others: number) => listed('en', names, others, n({ one: '# other', other: '# others' })),
  reply: 'Reply',
  replyingTo: (name: string) => `Reply to ${name}`,
  earlierMessage: 'An earlier message',
  toQuoted: 'Go to this message',
  copyLink: 'Copy link',
  edit: 'Edit',
  editing: 'Edit the message',
  edited: '(edited)',
  save: 'Save',
  delete: 'Delete',
  deleteMessage: 'Delete this message?',
  deleteWhy: 'It is gone for everyone, and does not come back.',
  notDone: 'Not done:',

  // Files.
  files: 'Files',
  download: (name: string) => `Download ${name}`,
  fileFailed: 'This file did not come.',
  pictureFailed: 'This picture did not come.',
  attach: 'Attach files',
  filesToSend: 'Files to send',
  removeFile: (name: string) => `Remove ${name}`,
  uploading: (name: string) => `Uploading ${name}`,
  fileTooLarge: (most: string) => `This file is larger than ${most}.`,
  tooManyFiles: n({ one: 'A message takes # file.', other: 'A message takes # files.' }),
  dropHere: 'Drop files to attach them',
  kindPicture: 'Picture',
  kindSound: 'Sound',
  kindVideo: 'Video',
  kindText: 'Text',
  kindPdf: 'PDF document',
  kindArchive: 'Archive',
  kindOther: 'File',

  // The box.
  yourMessage: 'Your message',
  writeTo: (room: string) => `Write to ${room}`,
  send: 'Send',
  bytesOf: (bytes: string, most: string) => `${bytes} of ${most} bytes`,
  hint: 'Enter sends, Shift+Enter breaks the line',

  // Settings.
  settings: 'Settings',
  theme: 'Theme',
  themeSystem: 'System',
  themeLight: 'Light',
  themeDark: 'Dark',
  language: 'Language',
  languageSystem: 'As the browser',
  showNotices: 'Show who joins and leaves',
  notify: 'Tell me on the desktop when I am mentioned',
  notifyDenied: 'The browser does not allow it. Its settings for this site say so.',
  mentionedYou: (name: string, room: string) => `${name} mentioned you in ${room}`,

  // The keyboard.
  shortcuts: 'Keyboard shortcuts',
  keySend: 'Send the message',
  keyBreak: 'Break the line',
  keyEdit: 'Edit the last message (in an empty box)',
  keyMention: 'Mention a member',
  keyRooms: 'Find or open a room',
  keyRegions: 'Go to the next region of the page',
  keyHelp: 'Show these shortcuts',
  keyClose: 'Close what is open',
}

export type Words = typeof en
