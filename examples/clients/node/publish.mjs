// Publish a batch, wait for its end and print its report: node publish.mjs BATCH.json. Needs amqplib.
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import amqp from "amqplib";

const ENDS = ["done", "partial", "failed", "cancelled"];
const API = process.env.MUNIFLOW_API_URL ?? "http://127.0.0.1:8080";
const WAIT_S = 300;

const connection = await amqp.connect(process.env.MUNIFLOW_AMQP_URL);
const channel = await connection.createConfirmChannel();
channel.on("return", () => { throw new Error("no queue muniflow.batches: is the coordinator running?"); });
const { queue } = await channel.assertQueue("", { exclusive: true });
for (const state of ["accepted", "rejected", ...ENDS]) await channel.bindQueue(queue, "muniflow.notify", `batch.${state}`);

const messageId = randomUUID();
let batch; // known with the answer to our message
const end = new Promise((resolve) =>
  channel.consume(queue, (message) => {
    const notice = JSON.parse(message.content);
    const ours = notice.message_id === messageId;
    if (ours) batch = notice.batch;
    if (notice.batch !== batch) return;
    if (notice.state === "rejected") { // of somebody else's message it says nothing about our batch
      if (ours) resolve(notice);
      return;
    }
    console.error(`${batch}: ${notice.state}, ${notice.done} of ${notice.total} images`);
    if (ENDS.includes(notice.state)) resolve(notice);
  }, { noAck: true }));

channel.publish("muniflow", "muniflow.batches", readFileSync(process.argv[2]),
  { contentType: "application/json", persistent: true, mandatory: true, messageId });
await channel.waitForConfirms(); // rejects unless it is stored

setTimeout(() => { throw new Error(`no end within ${WAIT_S} s`); }, WAIT_S * 1000).unref();
const notice = await end;
await connection.close();
process.exitCode = notice.state === "done" ? 0 : 1;
if (notice.state === "rejected") {
  console.log(JSON.stringify(notice.faults, null, 2));
} else {
  // The report is also the file <destination>/report.json in the output store.
  const key = process.env.MUNIFLOW_API_KEY;
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  const answer = await fetch(`${API}/v1/batches/${batch}/report`, { headers });
  if (!answer.ok) throw new Error(`the report: ${answer.status} ${await answer.text()}`);
  console.log(await answer.text());
}
