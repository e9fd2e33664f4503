"""The clients that the protocol's own working group publishes: open-inference-openapi and -grpc."""

import unittest

import grpc
from open_inference.grpc import protocol, service
from open_inference.openapi.client import OpenInferenceClient
from open_inference.openapi.core.api_error import ApiError
from open_inference.openapi.errors.bad_request_error import BadRequestError
from open_inference.openapi.errors.not_found_error import NotFoundError
from open_inference.openapi.errors.service_unavailable_error import ServiceUnavailableError
from open_inference.openapi.types import InferenceRequest

from served import Served


def asked(model_input, **more):
    return InferenceRequest.parse_obj({"inputs": [model_input], **more})


def tensor(*values, datatype="FP32", name="x"):
    return {"name": name, "shape": [1, len(values)], "datatype": datatype, "data": list(values)}


class TestOpenApi(Served):
    models = ("fp32", "sum", "bytes", "absent")

    def setUp(self):
        self.client = OpenInferenceClient(base_url=f"http://{self.front_end.query}")

    def unknown(self, call, *arguments, **more):
        """The client has no exception of its own for a 404 here."""
        with self.assertRaises(ApiError) as raised:
            call(*arguments, **more)
        self.assertEqual(raised.exception.status_code, 404)
        self.assertIn("nobody", raised.exception.body["error"])

    def test_health(self):
        self.client.check_server_liveness()
        self.client.check_server_readiness()
        self.client.check_model_readiness("fp32")
        self.client.check_model_version_readiness("fp32", "1")
        with self.assertRaises(NotFoundError):
            self.client.check_model_version_readiness("fp32", "2")
        with self.assertRaises(NotFoundError):
            self.client.check_model_readiness("nobody")
        with self.assertRaises(ServiceUnavailableError):
            self.client.check_model_readiness("absent")

    def test_metadata(self):
        server = self.client.read_server_metadata()
        self.assertEqual(server.name, "skysail")
        self.assertIn("parameters", server.extensions)
        for model in [self.client.read_model_metadata("fp32"),
                      self.client.read_model_version_metadata("fp32", "1")]:
            self.assertEqual((model.name, model.versions), ("fp32", ["1"]))
            [one] = model.inputs
            self.assertEqual((one.name, one.datatype, one.shape), ("x", "FP32", [-1, 3]))
        self.unknown(self.client.read_model_metadata, "nobody")

    def test_inference(self):
        request = asked(tensor(1.5, -2, 3), id="42", parameters={"else": "x"})
        for response in [
            self.client.model_infer("fp32", request=request),
            self.client.model_version_infer("fp32", "1", request=request),
        ]:
            self.assertEqual((response.model_name, response.id), ("fp32", "42"))
            [output] = response.outputs
            self.assertEqual(output.shape, [1, 3])
            self.assertEqual(output.data.__root__, [1.5, -2.0, 3.0])
        request = asked(tensor(1, 2, 3.5, datatype="FP64"), outputs=[{"name": "sum"}])
        [output] = self.client.model_infer("sum", request=request).outputs
        self.assertEqual(output.data.__root__, [6.5])
        request = asked(tensor("a", "", "é", datatype="BYTES"))
        [output] = self.client.model_infer("bytes", request=request).outputs
        self.assertEqual(output.data.__root__, ["a", "", "é"])

    def test_errors(self):
        with self.assertRaises(BadRequestError) as raised:
            self.client.model_infer("fp32", request=asked(tensor(1, 2)))
        self.assertIsInstance(raised.exception.body["error"], str)
        self.unknown(self.client.model_infer, "nobody", request=asked(tensor(1, 2, 3)))


class TestGrpc(Served):
    models = ("fp32", "absent")

    def setUp(self):
        channel = grpc.insecure_channel(self.front_end.query)
        self.addCleanup(channel.close)
        self.stub = service.GRPCInferenceServiceStub(channel)

    def test_health_and_metadata(self):
        self.assertTrue(self.stub.ServerLive(protocol.ServerLiveRequest()).live)
        self.assertTrue(self.stub.ServerReady(protocol.ServerReadyRequest()).ready)
        ready = lambda name: self.stub.ModelReady(protocol.ModelReadyRequest(name=name)).ready
        self.assertTrue(ready("fp32"))
        self.assertFalse(ready("absent"))
        server = self.stub.ServerMetadata(protocol.ServerMetadataRequest())
        self.assertEqual(server.name, "skysail")
        model = self.stub.ModelMetadata(protocol.ModelMetadataRequest(name="fp32", version="1"))
        self.assertEqual((model.name, list(model.versions)), ("fp32", ["1"]))
        self.assertEqual(list(model.inputs[0].shape), [-1, 3])

    def test_inference_with_typed_contents(self):
        request = protocol.ModelInferRequest(model_name="fp32", id="7")
        tensor = request.inputs.add(name="x", datatype="FP32", shape=[1, 3])
        tensor.contents.fp32_contents.extend([1, 2, 3])
        response = self.stub.ModelInfer(request)
        self.assertEqual((response.id, response.model_version), ("7", "1"))
        self.assertEqual(list(response.outputs[0].shape), [1, 3])
        self.assertEqual(len(response.raw_output_contents[0]), 12)

    def test_errors(self):
        with self.assertRaises(grpc.RpcError) as raised:
            self.stub.ModelInfer(protocol.ModelInferRequest(model_name="fp32"))
        self.assertEqual(raised.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)
        with self.assertRaises(grpc.RpcError) as raised:
            self.stub.ModelReady(protocol.ModelReadyRequest(name="nobody"))
        self.assertEqual(raised.exception.code(), grpc.StatusCode.NOT_FOUND)


if __name__ == "__main__":
    unittest.main()
