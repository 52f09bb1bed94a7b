// SPDX-License-Identifier: Apache-2.0
// Loaded before Piston, which has settings for neither:
// 1. Its web server takes bodies of $PISTON_BODY_LIMIT (512mb); 100 KB, the default, is less than the tests of many
//    contest problems.
// 2. A program gets all of its standard input. Piston destroys the pipe behind `end()`, so that a program reads at most
//    219,264 bytes. A header of every answer says that this is done.
"use strict";
const Module = require("module"); // with `node:` before it Node 15 of Open R1's image finds nothing
const child_process = require("child_process");
const http = require("http");

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

const spawn = child_process.spawn;

child_process.spawn = function (...words) {
    const child = spawn.apply(this, words);
    const stdin = child.stdin;
    if (!stdin) return child;
    const destroy = stdin.destroy;
    stdin.destroy = function (error) {
        const is_done = error || !this.writableEnded || this.writableFinished || child.exitCode !== null;
        if (is_done || child.signalCode !== null) return destroy.call(this, error);
        this.once("finish", () => destroy.call(this));
        child.once("exit", () => destroy.call(this));
        return this;
    };
    stdin.on("error", () => {}); // a program may end without reading all of it
    return child;
};

const write_head = http.ServerResponse.prototype.writeHead;

http.ServerResponse.prototype.writeHead = function (...words) {
    this.setHeader("X-Open-R1-Stdin", "whole");
    return write_head.apply(this, words);
};
