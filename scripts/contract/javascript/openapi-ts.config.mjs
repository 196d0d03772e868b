// `validator`: what is asked and what is answered is held against the schemas at run time, not by the compiler alone.
export default {
    input: "openapi.json",
    output: { path: "contract", postProcess: [] },
    plugins: ["@hey-api/client-fetch", "@hey-api/typescript", "zod", { name: "@hey-api/sdk", validator: true }],
};
