// One event through SQS, to every endpoint of a customer: cd examples/sqs && npm ci && node publish.mjs
import { randomUUID } from "node:crypto";
import { CreateQueueCommand, SendMessageCommand, SQSClient } from "@aws-sdk/client-sqs";

// AWS_ENDPOINT_URL_SQS names another server than Amazon's; region and credentials come from where they always do.
const sqs = new SQSClient({});
// Answers with the queue that is there, or makes it: Longshore reads queues and makes none.
const { QueueUrl } = await sqs.send(new CreateQueueCommand({ QueueName: process.env.QUEUE ?? "longshore-demo" }));
// A message of our own form; the source's `mapping` says where in it the parts of an event are.
const message = { id: randomUUID(), type: "order.created", customer: { id: "customer-1" }, order: { number: 4711, total: 250 } };
await sqs.send(new SendMessageCommand({ QueueUrl, MessageBody: JSON.stringify(message) }));
