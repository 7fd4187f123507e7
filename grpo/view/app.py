"""The web application of `grpo view`: the page's files, answers as JSON, and a stream of what changes.

Everything is read only. Text that a model wrote leaves here as JSON strings alone, and the page shows it as text. The
browser is told to load nothing from elsewhere (Content-Security-Policy), and a request that names another host than
this machine is refused: a page on the internet cannot read a run by pointing its own name at 127.0.0.1.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import anyio
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from grpo.common.console import LOG_FILE
from grpo.view import activity
from grpo.view.curves import charts
from grpo.view.folders import read_json
from grpo.view.history import find_sample, history
from grpo.view.local import is_local
from grpo.view.query import BadQuery, parse_query
from grpo.view.search import Located, page_rows, search
from grpo.view.stage_graph import stage_graph
from grpo.view.status import is_held
from grpo.view.tail import last_lines
from grpo.view.watch import LOOK_EVERY_S, UnknownRun, Watch
from policies.json_types import JsonDict

PAGE = Path(__file__).parent / "page"
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
LOG_BYTES = 1 << 15
"""Of a run's log that are shown, from its end."""
END_S = 1.0
"""Time that an open stream has to come to its end when the server shuts down."""
MAX_RUNS = 24
"""Runs that one request may name."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def make_app(watch: Watch) -> Starlette:
    """Build the application over what `watch` follows."""

    def answering(make: Callable[[Request], object]) -> Callable[[Request], Awaitable[Response]]:
        """An endpoint that makes its answer on a thread; a wrong request is a 4xx with one line of text."""

        async def endpoint(request: Request) -> Response:
            try:
                return to_json(await run_in_threadpool(make, request))
            except BadQuery as error:
                return PlainTextResponse(str(error), 400)
            except UnknownRun as error:
                return PlainTextResponse(str(error.args[0]), 404)

        return endpoint

    def runs_of(request: Request) -> list[str]:
        names = list(dict.fromkeys(request.query_params.getlist("run")))
        if not 0 < len(names) <= MAX_RUNS:
            raise BadQuery(f"run: name 1 to {MAX_RUNS} runs, not {len(names)}")
        return names

    def curves(request: Request) -> JsonDict:
        runs = [(name, watch.run(name).curves) for name in runs_of(request)]
        found = charts([(name, run.curves()) for name, run in runs])
        return {"charts": found, "problems": [f"{name}: {p}" for name, run in runs for p in run.problems()]}

    def parts_of(request: Request) -> tuple[list[Located], list[str]]:
        runs = [(name, watch.run(name).parts) for name in runs_of(request)]
        located = [(name, part) for name, run in runs for part in run.parts()]
        located.sort(
            key=lambda entry: -entry[1].steps[1]
        )  # stable: newest first, runs in the order of the request
        return located, [f"{name}: {problem}" for name, run in runs for problem in run.problems]

    def samples(request: Request) -> JsonDict:
        query = parse_query(request.query_params)
        parts, problems = parts_of(request)
        found = search(parts, query, watch.cache)
        return {
            "rows": page_rows(found, query),
            "found": len(found.which),
            "whole": found.is_whole,
            "samples": found.samples,
            "components": sorted({name for _, part in parts for name in part.file.components}),
            "problems": problems,
        }

    def count(request: Request) -> JsonDict:
        parts, _ = parts_of(request)
        found = search(parts, parse_query(request.query_params), watch.cache, stop_early=False)
        return {"found": len(found.which), "samples": found.samples}

    def sample(request: Request) -> JsonDict:
        (name,) = runs_of(request)[:1]
        run, wanted = watch.run(name), request.query_params.get("id", "")
        parts = run.parts.parts()
        at = find_sample(parts, wanted, watch.cache)
        if at is None:
            raise UnknownRun(f"no sample {wanted!r} in {name}; a run that resumes does its last steps again")
        return history(*at, parts, read_json(run.folder.path / "config.json"), watch.cache)

    def doing(request: Request) -> JsonDict:
        found = []
        for name in runs_of(request):
            path = watch.run(name).folder.path
            live = is_held(path / ".lock")
            found.append(
                {
                    "run": name,
                    "live": live,
                    "spans": activity.spans(path, time.time(), live),
                    "lanes": activity.lanes(read_json(path / "config.json")),
                    "workers": activity.workers(path),
                }
            )
        return {"runs": found, "busy": activity.BUSY}

    def about(request: Request) -> JsonDict:
        (name,) = runs_of(request)[:1]
        path = watch.run(name).folder.path
        files = ("config", "manifest", "summary", "stopped")
        log = b"\n".join(last_lines(path / LOG_FILE, LOG_BYTES)).decode(errors="replace")
        return {"path": str(path), "log": log, **{file: read_json(path / f"{file}.json") for file in files}}

    def graph(request: Request) -> JsonDict:
        return stage_graph(watch.graph(request.query_params.get("graph", "")), watch.folders())

    async def events(request: Request) -> Response:
        end = anyio.Event()
        return EventSourceResponse(
            changes(watch, end), headers=HEADERS, shutdown_event=end, shutdown_grace_period=END_S
        )

    async def page(request: Request) -> Response:
        path = PAGE / (request.path_params.get("name") or "index.html")
        if path.suffix not in TYPES or not path.is_file():
            return PlainTextResponse("not found", 404)
        return FileResponse(path, media_type=TYPES[path.suffix])

    answers = {
        "curves": curves, "samples": samples, "count": count, "sample": sample, "activity": doing, "about": about,
        "graph": graph,
    }  # fmt: skip
    routes = [Route(f"/api/{name}", answering(make), methods=["GET"]) for name, make in answers.items()]
    routes += [Route("/api/events", events, methods=["GET"])]
    routes += [Route("/", page, methods=["GET"]), Route("/{name}", page, methods=["GET"])]
    return Starlette(routes=routes, middleware=[Middleware(LocalOnly)])


async def changes(watch: Watch, end: anyio.Event) -> AsyncIterator[dict[str, str]]:
    """Yield an event with the cards of the runs that changed, all of them at first, and with the ids of all runs.

    Returns when `end` is set, which the server does when it shuts down.
    """
    sent: dict[str, JsonDict] = {}
    order: list[str] | None = None
    while not end.is_set():
        cards = await run_in_threadpool(watch.cards)
        changed = [card for card in cards if sent.get(card["id"]) != card]
        ids = [card["id"] for card in cards]
        if changed or ids != order:
            yield {"data": json.dumps(finite({"order": ids, "cards": changed}))}
            sent, order = {card["id"]: card for card in cards}, ids
        with anyio.move_on_after(LOOK_EVERY_S):
            await end.wait()


def to_json(content: object) -> Response:
    """Return a JSON response; a number that is not finite is null."""
    text = json.dumps(finite(content), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Response(text.encode("utf-8", errors="replace"), media_type="application/json")


def finite(content: object) -> object:
    """Return a JSON tree with None in place of numbers that JSON does not have."""
    if isinstance(content, dict):
        return {key: finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


class LocalOnly:
    """Refuses requests that name another host than this machine, and adds the headers that confine the page."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap an application."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if not is_local(given.get("host", "")) or not is_local(
            given.get("origin", "http://localhost").partition("//")[2]
        ):
            answer = PlainTextResponse("grpo view answers to localhost only\n", 403)
            await answer(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(
                        (k.encode(), v.encode())
                        for k, v in HEADERS.items()
                        if k.lower().encode() not in present
                    ),
                ]
            await send(message)

        await self._app(scope, receive, with_headers)
