// SPDX-License-Identifier: Apache-2.0
// Loaded before Piston: its web server takes bodies of $PISTON_BODY_LIMIT (512mb). Piston has no setting for it, and
// 100 KB, the default, is less than the tests of many contest problems.
"use strict";
const Module = require("node:module");

const limit = process.env.PISTON_BODY_LIMIT || "512mb";
const load = Module._load;

Module._load = function (request, ...rest) {
    const loaded = load.call(this, request, ...rest);
    if (request !== "body-parser" || loaded.has_open_r1_limit) return loaded;
    const parsers = { has_open_r1_limit: true };
    for (const name of ["json", "urlencoded", "text", "raw"]) {
        parsers[name] = (options) => loaded[name]({ ...options, limit });
    }
    return parsers;
};
