"""A real web service around a real network on the loopback: well-behaved, or as ill as a test wants it to be."""

import asyncio
import base64
import io
import os
import socket
import sys
import threading
import time
from pathlib import Path

import numpy as np
import torch
import uvicorn
from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

import struthio as st


class Service:
    """Answers POSTs, and counts what it worked on.

    `plan` says what becomes of the next requests, one word each, "answer" when it is empty. `inputs` counts the inputs
    that the network saw, `requests` all requests; `heard` keeps the headers of the last one.
    """

    def __init__(self, model=None):
        self.model = model or st.load("zoo:digits-cnn")
        self.plan: list[str] = []
        self.inputs = self.requests = self.most = 0
        self.times: list[float] = []
        self.heard: dict[str, str] = {}
        self.logged: Path | None = None

    def app(self):
        return Starlette(routes=[Route("/{form}", self.answer, methods=["POST"])])

    def see(self, x):
        self.inputs += len(x)
        self.most = max(self.most, len(x))
        if self.logged:
            with self.logged.open("a") as log:
                log.write(f"{len(x)}\n")
        with torch.no_grad():
            return self.model(x)

    async def answer(self, request: Request):
        self.requests += 1
        self.times.append(time.monotonic())
        self.heard = dict(request.headers)
        word = self.plan.pop(0) if self.plan else "answer"
        if word == "limit":
            return Response("slow down", 429, headers={"retry-after": "1"})
        if word == "limit for an hour":
            return Response("slow down", 429, headers={"retry-after": "3600"})
        if word == "limit without a word":
            return Response("slow down", 429)
        if word == "redirect":
            return RedirectResponse("http://127.0.0.1:9/elsewhere")
        if word == "reject":
            return JSONResponse({"detail": "inputs: field required"}, 422)
        body, form = await request.json(), request.path_params["form"]
        outputs = self.see(self.read(body, form))
        if word == "die":
            os._exit(1)
        if word == "fail":
            return Response("Traceback: out of memory", 500)
        if word == "slow":
            await asyncio.sleep(2)
        if word == "drip":
            return StreamingResponse(self.drops(), media_type="application/json")
        if word == "huge":
            return Response("[" + "0," * 2_000_000 + "0]", media_type="application/json")
        if word.startswith("say "):
            return Response(word[4:], media_type="application/json")
        return JSONResponse(self.write(outputs, form))

    async def drops(self):
        for _ in range(30):
            yield b" "
            await asyncio.sleep(0.1)

    def read(self, body, form):
        if form == "png":
            pictures = [Image.open(io.BytesIO(base64.b64decode(item["b64"]))) for item in body["instances"]]
            return torch.stack([torch.tensor(np.asarray(picture))[None].float() / 255 for picture in pictures])
        if form == "tensorflow":
            return torch.tensor(body["instances"], dtype=torch.float32).movedim(-1, 1) / 255
        if form == "single":
            return torch.tensor(body["model"]["image"], dtype=torch.float32)[None]
        return torch.tensor(body["inputs"], dtype=torch.float32)

    def write(self, outputs, form):
        if form == "labels":
            return {"labels": outputs.argmax(1).tolist()}
        if form == "names":
            return {"results": [{"class": f"digit {label}"} for label in outputs.argmax(1).tolist()]}
        if form == "single":
            return {"logits": outputs[0].tolist()}
        if form == "probabilities":
            return {"predictions": outputs.softmax(1).tolist()}
        return {"scores": outputs.tolist()} if form == "scores" else {"predictions": outputs.tolist()}


class Running:
    """A service in a thread; `url` is its address."""

    def __init__(self, service: Service):
        self.socket = socket.socket(proto=socket.IPPROTO_TCP)  # named, or asyncio leaves answers waiting for 40 ms
        self.socket.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        config = uvicorn.Config(service.app(), log_level="critical", lifespan="off", timeout_graceful_shutdown=1)
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.socket]}, daemon=True)

    def __enter__(self):
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)
        return self

    def __exit__(self, *_):
        self.server.should_exit = True
        self.thread.join(5)
        self.socket.close()


if __name__ == "__main__":  # a service that dies for good: `service.py PORT REQUESTS LOG`
    torch.set_num_threads(1)
    mortal = Service()
    mortal.plan, mortal.logged = ["answer"] * int(sys.argv[2]) + ["die"], Path(sys.argv[3])
    uvicorn.run(mortal.app(), host="127.0.0.1", port=int(sys.argv[1]), log_level="critical", lifespan="off")
