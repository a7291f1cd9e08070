"""Serve a digits network on this machine, to attack it as a stranger would: `python examples/serve.py`.

    struthio attack --endpoint http://127.0.0.1:8000/predict --budget 5000 --attack square --data data:digits \
        --threat linf:0.15

It answers `{"inputs": [[...], ...]}` with `{"outputs": [[ten scores], ...]}`.
"""

import torch
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

import struthio as st

MODEL = st.load("zoo:digits-cnn")


async def predict(request: Request) -> JSONResponse:
    """The scores of a batch of digits [n, 1, 28, 28], pixels in [0, 1]."""
    x = torch.tensor((await request.json())["inputs"])
    with torch.no_grad():
        return JSONResponse({"outputs": MODEL(x).tolist()})


if __name__ == "__main__":
    uvicorn.run(Starlette(routes=[Route("/predict", predict, methods=["POST"])]), port=8000, log_level="warning")
