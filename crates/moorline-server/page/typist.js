// Writes a stream word by word, as a program does that asks a model.

const WORD_MS = 150;
const ANSWER =
  "This answer comes word by word. Each word is sent once, and kept once, in the room's log; whoever is here sees the text grow. " +
  "Kill a connection now: when it comes back it is sent the text from its beginning, keeps what it has, and goes on in the middle " +
  "of the sentence. The other person may stop it as well: then the one who writes is told, and ends it. Nobody has to ask twice.";

/** Resolves with how it ended, `complete` or `cancelled`; throws {code, message} where it is refused. */
export async function typeAnswer(connection, room, data) {
  const stream = `answer-${crypto.randomUUID().slice(0, 8)}`;
  let cancelled = false;
  const heard = ({ detail }) => {
    cancelled ||= detail.room === room && detail.stream === stream;
  };
  connection.addEventListener("stream_cancel", heard);
  try {
    let { fence, at } = await connection.ask({ type: "stream_open", room, stream, data });
    for (const content of ANSWER.match(/\S+\s*/g)) {
      await new Promise((resolve) => setTimeout(resolve, WORD_MS));
      if (cancelled) break;
      const appended = await connection.ask({ type: "stream_append", room, stream, fence, at, content });
      at = appended.at;
      cancelled ||= appended.cancel === true;
    }
    const outcome = cancelled ? "cancelled" : "complete";
    await connection.ask({ type: "stream_end", room, stream, fence, outcome });
    return outcome;
  } finally {
    connection.removeEventListener("stream_cancel", heard);
  }
}
