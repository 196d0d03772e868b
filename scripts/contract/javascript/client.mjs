// Calls functions of the generated module by the operation's id, for walk.py: a line of JSON per call and per answer.
// It knows no operation; names are found by reflection.
import { createInterface } from "node:readline";
import { createClient, createConfig } from "./contract/client";
import * as sdk from "./contract/sdk.gen";
import * as schemas from "./contract/zod.gen";

const byName = (exports) => new Map(Object.entries(exports).map(([name, value]) => [name.toLowerCase(), value]));
const functions = byName(sdk);
const types = byName(schemas);

// The function returns what came; its schema leaves out what it does not know. An operation with several good statuses has
// a union of their schemas, of which the first that fits need not be the one that was meant.
function known(schema, data) {
    const results = (schema.options ?? [schema]).map((one) => one.safeParse(data)).filter((one) => one.success);
    const sizes = results.map((one) => JSON.stringify(one.data).length);
    return results[sizes.indexOf(Math.max(...sizes))].data;
}

async function call(wanted) {
    const seen = {};
    const client = createClient(
        createConfig({
            baseUrl: process.argv[2],
            auth: wanted.key,
            fetch: async (request) => {
                const response = await fetch(request);
                seen.status = response.status;
                seen.body = await response.clone().text();
                return response;
            },
        }),
    );
    try {
        const operation = wanted.operation.toLowerCase();
        const query = Object.keys(wanted.query).length ? wanted.query : undefined;
        const path = wanted.path.length ? Object.fromEntries(wanted.path) : undefined;
        // Throws where the request or the answer is not what the document says.
        const result = await functions.get(operation)({ client, path, query, body: wanted.body });
        if (result.error instanceof Error) throw result.error; // no answer at all
        if (!result.response.ok) return { ...seen, decoded: result.error };
        return { ...seen, decoded: known(types.get(`z${operation}response`), result.data) };
    } catch (error) {
        return { ...seen, error: `${error.name}: ${error.message}` };
    }
}

for await (const line of createInterface({ input: process.stdin })) {
    console.log(JSON.stringify(await call(JSON.parse(line))));
}
