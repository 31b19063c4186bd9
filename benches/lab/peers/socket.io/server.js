// Socket.IO as it comes: rooms in memory, no options but those of the process around it.
"use strict";

const { createServer } = require("node:http");
const { Server } = require("socket.io");

const http = createServer();
const io = new Server(http, { serveClient: false });

io.on("connection", (socket) => {
  socket.join(socket.handshake.auth.room);
  socket.on("message", (room, text) => socket.to(room).emit("message", text));
});

http.listen(0, "127.0.0.1", () => {
  console.log(`listening on http://127.0.0.1:${http.address().port}`);
});
