"""A front end that asks for tokens: what each lets in, over HTTP and gRPC."""

import json
import subprocess
import unittest

import grpc
import numpy as np
import tritonclient.grpc
import tritonclient.http
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from served import PATIENCE_SECONDS, SKYSAIL, FrontEnd, request

BODY = {"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}]}


def given(module):
    tensor = module.InferInput("x", [1, 3], "FP32")
    tensor.set_data_from_numpy(np.array([[1, 2, 3]], np.float32))
    return [tensor]


def bearer(token):
    return {"authorization": f"Bearer {token}"}


class Tokens(unittest.TestCase):
    """Applications `one` and `two` of the same model, and a token of each kind."""

    @classmethod
    def setUpClass(cls):
        cls.tokens = {}
        cls.front_end = FrontEnd("--auth", "token", prepare=cls.make_tokens)
        cls.addClassCleanup(cls.front_end.stop)
        cls.front_end.headers = bearer(cls.tokens["all"])
        cls.front_end.deploy("fp32")
        cls.front_end.wait_ready("fp32")
        for name in ("one", "two"):
            cls.front_end.add_application(name, "fp32")
        cls.address = cls.front_end.query

    @classmethod
    def make_tokens(cls, front_end):
        for name, more in {
            "all": ["--scope", "admin,query"],
            "query": ["--scope", "query"],
            "one": ["--scope", "query", "--app", "one"],
            "metrics": ["--scope", "metrics"],
        }.items():
            command = [SKYSAIL, "tokens", "new", "--name", name, *more, "--json"]
            made = subprocess.run(
                [*command, "--data-dir", front_end.data], stdout=subprocess.PIPE, check=True)
            cls.tokens[name] = json.loads(made.stdout)["token"]

    def setUp(self):
        self.http = tritonclient.http.InferenceServerClient(self.address)
        self.addCleanup(self.http.close)
        self.grpc = tritonclient.grpc.InferenceServerClient(self.address)
        self.addCleanup(self.grpc.close)
        self.stub = service_pb2_grpc.GRPCInferenceServiceStub(self.grpc._channel)

    def outcomes(self, call, **more):
        """Whether a call of the client works, by the token that it brings."""
        found = {}
        for name, token in {"none": None, **self.tokens}.items():
            try:
                call(headers=bearer(token) if token else {}, **more)
                found[name] = "ok"
            except InferenceServerException as error:
                found[name] = error.status().removeprefix("StatusCode.")
        return found

    def check_http(self, status, method="POST", path="/v2/models/one/infer", headers=None):
        answer = request(self.address, method, path, BODY, headers)
        self.assertEqual(answer.status, status, f"{path}: {answer.body}")
        self.assertEqual(answer.headers["Content-Type"], "application/json")
        self.assertIsInstance(answer.json()["error"], str)
        if status == 401:
            self.assertIn("Bearer", answer.headers["WWW-Authenticate"])


class TestTokens(Tokens):
    def test_without_a_token_http_is_401_in_the_shape_of_an_error(self):
        paths = [("POST", "/v2/models/one/infer"), ("GET", "/v2"), ("GET", "/v2/models/one"),
                 ("GET", "/v2/models/nobody"), ("GET", "/v2/nothing"),
                 ("POST", "/v2/repository/index"), ("GET", "/v2/models/one/infer")]
        for headers in [{}, {"authorization": "Basic eDp5"}]:
            for method, path in paths:
                self.check_http(401, method, path, headers)

    def test_health_needs_no_token(self):
        self.assertTrue(self.http.is_server_live() and self.http.is_server_ready())
        self.assertTrue(self.grpc.is_server_live() and self.grpc.is_server_ready())

    def test_health_of_a_model_is_for_those_who_may_query_it(self):
        stub = health_pb2_grpc.HealthStub(self.grpc._channel)
        request = health_pb2.HealthCheckRequest(service="one")
        found = {}
        for name, token in {"none": None, **self.tokens}.items():
            metadata = [("authorization", f"Bearer {token}")] if token else []
            try:
                found[name] = stub.Check(request, metadata=metadata).status
            except grpc.RpcError as error:
                found[name] = error.code()
        serving, unknown = health_pb2.HealthCheckResponse.SERVING, grpc.StatusCode.NOT_FOUND
        self.assertEqual(found, {"all": serving, "query": serving, "one": serving,
                                 "none": unknown, "metrics": unknown})

    def test_inference_is_for_those_who_may_query_the_application(self):
        expected = {"all": "ok", "query": "ok", "one": "ok"}
        of_one = {**expected, "none": "401", "metrics": "403"}
        infer = dict(inputs=given(tritonclient.http))
        found = self.outcomes(self.http.infer, model_name="one", **infer)
        self.assertEqual(found, of_one)
        for other in ["two", "fp32", "nobody"]:
            found = self.outcomes(self.http.infer, model_name=other, **infer)
            others = {**of_one, "one": "403"}
            if other == "nobody":
                others |= {"all": "404", "query": "404"}
            self.assertEqual(found, others, other)

    def test_grpc_lets_in_whom_http_lets_in(self):
        denied = {"none": "UNAUTHENTICATED", "metrics": "PERMISSION_DENIED"}
        of_one = {"all": "ok", "query": "ok", "one": "ok", **denied}
        infer = dict(inputs=given(tritonclient.grpc))
        found = self.outcomes(self.grpc.infer, model_name="one", **infer)
        self.assertEqual(found, of_one)
        for other in ["two", "fp32", "nobody"]:
            found = self.outcomes(self.grpc.infer, model_name=other, **infer)
            others = {**of_one, "one": "PERMISSION_DENIED"}
            if other == "nobody":
                others |= {"all": "NOT_FOUND", "query": "NOT_FOUND"}
            self.assertEqual(found, others, other)

    def test_a_token_for_one_application_reaches_nothing_of_others(self):
        for name, model in [
            ("get_model_metadata", "model_name"), ("get_model_config", "model_name"),
            ("get_inference_statistics", "model_name"), ("is_model_ready", "model_name"),
            ("get_trace_settings", "model_name"),
        ]:
            for other in ["two", "fp32", "nobody"]:
                with self.subTest(name, of=other):
                    headers = bearer(self.tokens["one"])
                    of = {model: other, "headers": headers}
                    with self.assertRaises(InferenceServerException) as raised:
                        getattr(self.grpc, name)(**of)
                    self.assertEqual(raised.exception.status(), "StatusCode.PERMISSION_DENIED")
                    if name == "is_model_ready":
                        self.assertFalse(self.http.is_model_ready(**of))
                        continue
                    with self.assertRaises(InferenceServerException) as raised:
                        getattr(self.http, name)(**of)
                    self.assertEqual(raised.exception.status(), "403")
            own = {model: "one", "headers": bearer(self.tokens["one"])}
            getattr(self.http, name)(**own)
            getattr(self.grpc, name)(**own)

    def test_what_concerns_all_is_not_for_a_token_of_one_application(self):
        for call in ["get_model_repository_index", "get_system_shared_memory_status",
                     "unregister_system_shared_memory", "get_cuda_shared_memory_status",
                     "unregister_cuda_shared_memory", "get_inference_statistics",
                     "get_trace_settings", "get_log_settings"]:
            with self.subTest(call):
                found = self.outcomes(getattr(self.http, call))
                self.assertEqual((found["query"], found["one"]), ("ok", "403"))
                found = self.outcomes(getattr(self.grpc, call))
                self.assertEqual((found["query"], found["one"]), ("ok", "PERMISSION_DENIED"))

    def test_loading_is_for_administrators(self):
        found = self.outcomes(self.http.load_model, model_name="fp32")
        self.assertEqual(found, {"none": "401", "all": "ok", "query": "403", "one": "403",
                                 "metrics": "403"})
        found = self.outcomes(self.grpc.load_model, model_name="fp32")
        self.assertEqual((found["all"], found["query"]), ("ok", "PERMISSION_DENIED"))

    def test_each_message_of_a_stream_is_looked_at(self):
        def messages():
            for name in ["one", "two", "one"]:
                message = service_pb2.ModelInferRequest(model_name=name, id=name)
                message.inputs.add(name="x", datatype="FP32", shape=[1, 3])
                message.raw_input_contents.append(bytes(12))
                yield message

        metadata = list(bearer(self.tokens["one"]).items())
        answers = self.stub.ModelStreamInfer(
            messages(), metadata=metadata, timeout=PATIENCE_SECONDS)
        found = [(answer.infer_response.id, bool(answer.error_message)) for answer in answers]
        self.assertEqual(found, [("one", False), ("two", True), ("one", False)])
        with self.assertRaises(grpc.RpcError) as raised:
            list(self.stub.ModelStreamInfer(messages(), timeout=PATIENCE_SECONDS))
        self.assertEqual(raised.exception.code(), grpc.StatusCode.UNAUTHENTICATED)


class TestWrongTokens(Tokens):
    """Apart, because wrong tokens are counted."""

    def test_the_first_ones_are_refused_and_then_all_are_slowed_down(self):
        wrong = bearer("x" * 40)
        self.check_http(401, headers=wrong)
        call = lambda: self.grpc.infer("one", given(tritonclient.grpc), headers=wrong)
        found = []
        while "RESOURCE_EXHAUSTED" not in found and len(found) < 100:
            with self.assertRaises(InferenceServerException) as raised:
                call()
            found.append(raised.exception.status().removeprefix("StatusCode."))
        self.assertEqual(found[0], "UNAUTHENTICATED")
        self.assertEqual(found[-1], "RESOURCE_EXHAUSTED")
        self.check_http(429, headers=wrong)
        # Who has the right one is not held up.
        right = bearer(self.tokens["one"])
        self.grpc.infer("one", given(tritonclient.grpc), headers=right)


if __name__ == "__main__":
    unittest.main()
