// Judges signed messages with the reference library of Standard Webhooks. Reads a JSON array of
// {secret, headers, body} from standard input, writes an array of null (it is genuine) or what is wrong with it.
import { Webhook } from "standardwebhooks";

const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const messages = JSON.parse(Buffer.concat(chunks).toString("utf8"));
const judge = ({ secret, headers, body }) => {
  try {
    new Webhook(secret).verify(body, headers);
    return null;
  } catch (error) {
    return String(error.message);
  }
};
process.stdout.write(JSON.stringify(messages.map(judge)));
