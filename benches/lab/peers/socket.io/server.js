// Socket.IO with its defaults: rooms in memory, and options for the clients' connections only.
"use strict";

const { createServer } = require("node:http");
const { Server } = require("socket.io");

const http = createServer();
// By default Node.js closes a connection without a request for five seconds.
http.keepAliveTimeout = 3_600_000;
const io = new Server(http, { serveClient: false });

io.on("connection", (socket) => {
  socket.join(socket.handshake.auth.room);
  socket.on("message", (room, text) => socket.to(room).emit("message", text));
});

http.listen(0, "127.0.0.1", () => {
  console.log(`listening on http://127.0.0.1:${http.address().port}`);
});
