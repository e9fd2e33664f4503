"""Arrays and answers as the front end's protocols have them."""

from __future__ import annotations

import base64
import json
from typing import Any, Dict, List, Mapping, NamedTuple, Optional
from urllib.parse import quote

import numpy as np

from ._http import Request, Response

#: Datatypes of the Open Inference Protocol as numpy names them; bfloat16 as its bits.
DTYPES = {
    "BOOL": "?",
    "UINT8": "u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "BF16": "<u2",
    "FP32": "<f4",
    "FP64": "<f8",
}
#: And the other way.
DATATYPES = {np.dtype(dtype): name for name, dtype in DTYPES.items() if name != "BF16"}

JSON = {"Content-Type": "application/json"}
BINARY = {"Content-Type": "application/octet-stream"}


class Prediction(NamedTuple):
    """The answer to one query of an application."""

    #: What the model said, or the application's default.
    output: Any
    #: Whether it is the default.
    default: bool
    #: Why, in one word: ``no_replica``, ``queue_full``, ``shed``, ``expired_queue``,
    #: ``expired_model``, ``model_error``, ``replica_lost`` or ``draining``; None for a prediction.
    default_cause: Optional[str]
    #: The query's number.
    query_id: int
    #: Everything that the front end said.
    raw: Mapping[str, Any]

    @staticmethod
    def read(answer: Mapping[str, Any]) -> "Prediction":
        return Prediction(
            answer.get("output"),
            bool(answer.get("default")),
            answer.get("default_cause"),
            int(answer.get("query_id", 0)),
            answer,
        )


class Inference(Dict[str, np.ndarray]):
    """The outputs of a model for some rows, by name, each an array of shape ``[rows, ...]``.

    Texts are arrays of ``bytes`` objects.
    """

    #: Whether any of it is the application's default.
    default: bool = False
    #: Why, in one word.
    default_cause: Optional[str] = None
    #: How many rows are the default.
    default_rows: int = 0


def plain(value: Any) -> Any:
    """An input as Clipper's JSON has it."""
    if isinstance(value, np.ndarray):
        return value.reshape(-1).tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(bytes(value)).decode()
    return value


def options(**given: Any) -> Dict[str, Any]:
    """Those that are given."""
    return {name: value for name, value in given.items() if value is not None}


def segment(name: str) -> str:
    return quote(name, safe="")


def post(path: str, body: Any, is_safe: bool = True) -> Request:
    return Request("POST", path, json.dumps(body).encode(), JSON, is_safe)


def infer_request(
    path: str,
    inputs: Mapping[str, Any],
    datatypes: Mapping[str, str],
    parameters: Mapping[str, Any],
) -> Request:
    """Tensors in binary form behind their description."""
    tensors = []
    pieces: List[bytes] = []
    for name, value in inputs.items():
        array, datatype, data = encode(name, value, datatypes.get(name))
        tensors.append(
            {
                "name": name,
                "shape": list(array.shape),
                "datatype": datatype,
                "parameters": {"binary_data_size": len(data)},
            }
        )
        pieces.append(data)
    head = json.dumps(
        {"inputs": tensors, "parameters": {"binary_data_output": True, **parameters}}
    ).encode()
    headers = {**BINARY, "Inference-Header-Content-Length": str(len(head))}
    return Request("POST", path, head + b"".join(pieces), headers)


def encode(name: str, value: Any, datatype: Optional[str]) -> tuple:
    """An array, its datatype and its bytes. Numbers become the model's datatype, if that is known
    and nothing but precision is lost."""
    array = np.asarray(value)
    if array.dtype.name == "bfloat16":
        return array, "BF16", array.tobytes()
    if array.dtype.kind in "SU" and not isinstance(value, np.ndarray):
        # An array of numpy's own texts would lose zero bytes at their ends.
        array = np.asarray(value, object)
    if array.dtype.kind in "OSU" or datatype == "BYTES":
        return array, "BYTES", b"".join(counted(name, text) for text in array.flat)
    if datatype in DTYPES:
        array = converted(name, array, datatype)
    else:
        datatype = DATATYPES.get(array.dtype.newbyteorder("<"))
        if datatype is None:
            raise TypeError(f"input '{name}' is {array.dtype}, which no model takes")
    return array, datatype, np.ascontiguousarray(array).tobytes()


def converted(name: str, array: np.ndarray, datatype: str) -> np.ndarray:
    wanted = np.dtype(DTYPES[datatype])
    if array.dtype == wanted or array.size == 0:
        return array.astype(wanted)
    if array.dtype.kind in "iu" and wanted.kind in "iu":
        limits = np.iinfo(wanted)
        if array.min() < limits.min or array.max() > limits.max:
            raise ValueError(
                f"input '{name}' has {array.min()} to {array.max()}, which {datatype} cannot hold"
            )
    elif datatype == "BF16":
        raise TypeError(
            f"input '{name}' is {array.dtype}, and numpy has no bf16: give the upper 16 bits of "
            "the float32 as uint16"
        )
    elif not np.can_cast(array.dtype, wanted, "same_kind"):
        raise TypeError(
            f"input '{name}' is {array.dtype}, the model takes {datatype}: "
            f"convert it with .astype(np.{wanted.name})"
        )
    return array.astype(wanted)


def counted(name: str, text: Any) -> bytes:
    if isinstance(text, str):
        text = text.encode()
    if not isinstance(text, (bytes, bytearray)):
        raise TypeError(f"input '{name}' has a {type(text).__name__}, expected str or bytes")
    return len(text).to_bytes(4, "little") + bytes(text)


def read_inference(response: Response) -> Inference:
    length = response.headers.get("inference-header-content-length")
    head = len(response.body) if length is None else int(length)
    said = json.loads(response.body[:head])
    rest = memoryview(response.body)[head:]
    outputs = Inference()
    for tensor in said.get("outputs", []):
        size = (tensor.get("parameters") or {}).get("binary_data_size")
        if size is None:
            outputs[tensor["name"]] = from_json(tensor)
        else:
            outputs[tensor["name"]] = decode(tensor, bytes(rest[:size]))
            rest = rest[size:]
    parameters = said.get("parameters") or {}
    outputs.default = bool(parameters.get("skysail_default"))
    outputs.default_cause = parameters.get("skysail_cause")
    outputs.default_rows = int(parameters.get("skysail_default_rows", 0))
    return outputs


def decode(tensor: Mapping[str, Any], data: bytes) -> np.ndarray:
    if tensor["datatype"] != "BYTES":
        array = np.frombuffer(data, DTYPES[tensor["datatype"]])
        return array.reshape(tensor["shape"])
    texts = []
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "little")
        texts.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    return objects(texts, tensor["shape"])


def from_json(tensor: Mapping[str, Any]) -> np.ndarray:
    if tensor["datatype"] != "BYTES":
        return np.array(tensor["data"], DTYPES[tensor["datatype"]]).reshape(tensor["shape"])
    flat = np.asarray(tensor["data"], object).reshape(-1)
    texts = [text.encode() if isinstance(text, str) else text for text in flat]
    return objects(texts, tensor["shape"])


def objects(texts: List[Any], shape: List[int]) -> np.ndarray:
    array = np.empty(len(texts), object)
    array[:] = texts
    return array.reshape(shape)
