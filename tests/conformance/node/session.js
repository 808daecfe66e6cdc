// Opens a session with npm's `ssm-session`, as its README does, and types a line once it is asked for.
//
// usage: session.js COLUMNS ROWS ASKED LINE, on standard input {"url", "token"}; prints {"shown"} as JSON

"use strict";

const WebSocket = require("ws");
const { ssm } = require("ssm-session");

const [cols, rows] = process.argv.slice(2, 4).map(Number);
const [asked, line] = process.argv.slice(4);
const { url, token } = JSON.parse(require("fs").readFileSync(0, "utf8"));

const OUTPUT = 1;
const SIZE_WANTED = 17;
const decoder = new TextDecoder();
const connection = new WebSocket(url);
connection.binaryType = "arraybuffer";
let shown = "";
let typed = false;

connection.onopen = () => ssm.init(connection, { token, termOptions: { cols, rows } });
connection.onerror = (error) => {
  console.error(`no session: ${error.message}`);
  process.exit(1);
};
connection.onmessage = ({ data }) => {
  const message = ssm.decode(data);
  // Its types are filled up with spaces by agents, with zeros by this client.
  const type = message.messageType.replace(/\0/g, "");
  if (type === "channel_closed") {
    console.log(JSON.stringify({ shown }));
    process.exit(0);
  }
  if (type !== "output_stream_data") return;
  ssm.sendACK(connection, message);
  if (message.payloadType === SIZE_WANTED) ssm.sendInitMessage(connection, { cols, rows });
  if (message.payloadType === OUTPUT) shown += decoder.decode(message.payload);
  if (!typed && shown.includes(asked)) {
    typed = true;
    ssm.sendText(connection, new TextEncoder().encode(`${line}\n`));
  }
};
connection.onclose = () => {
  console.error(`the session ended without a word: ${shown}`);
  process.exit(1);
};
