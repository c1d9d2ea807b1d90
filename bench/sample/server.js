// The shape of the 2017 sample, to measure against: one Node process that keeps messages in a sorted set and members
// in a hash, says everything through Redis' topics, and hands it on with Socket.IO.
//
//   node server.js <port> <port of Redis>

const { randomUUID } = require('node:crypto');
const { Server } = require('socket.io');
const Redis = require('ioredis');

const [port, redisPort] = process.argv.slice(2).map(Number);
const store = new Redis(redisPort, '127.0.0.1');
const topics = new Redis(redisPort, '127.0.0.1');
// A bench does not last long enough for a ping.
const io = new Server({ pingInterval: 600_000, transports: ['websocket'] });
// The load checks that each room's messages arrive in order and once. The sample itself has no numbers.
const numbers = new Map();

function publish(event, room, body) {
  return store.publish('events', JSON.stringify({ event, room, body }));
}

topics.on('message', (_topic, text) => {
  const { event, room, body } = JSON.parse(text);
  if (event === 'message') {
    body.seq = (numbers.get(room) ?? 0) + 1;
    numbers.set(room, body.seq);
  }
  io.to(room).emit(event, body);
});

io.on('connection', (socket) => {
  const id = randomUUID();
  const member = { id: `m_${id}`, name: `Member ${id.slice(0, 8)}`, avatar: `/avatars/${id}.svg`, kind: 'guest' };
  const rooms = [];

  socket.on('join', async (room, joined) => {
    rooms.push(room);
    await store.hset(`${room}:members`, socket.id, JSON.stringify(member));
    const [members, messages] = await Promise.all([
      store.hvals(`${room}:members`),
      store.zrange(`${room}:messages`, -100, -1),
    ]);
    socket.join(room);
    joined({ members: members.map((text) => JSON.parse(text)), messages: messages.map((text) => JSON.parse(text)) });
    await publish('member_add', room, member);
  });

  socket.on('send', async ({ room, client_id, text }) => {
    const message = { room, id: randomUUID(), client_id, text, sent_at: new Date().toISOString(), member };
    await store.zadd(`${room}:messages`, Date.now(), JSON.stringify(message));
    await publish('message', room, message);
  });

  socket.on('disconnect', async () => {
    for (const room of rooms) {
      await store.hdel(`${room}:members`, socket.id);
      await publish('member_delete', room, { id: member.id });
    }
  });
});

topics.subscribe('events').then(() => io.listen(port));
