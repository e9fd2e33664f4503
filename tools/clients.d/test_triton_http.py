"""An unmodified tritonclient over HTTP."""

import importlib.metadata
import itertools
import unittest

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from served import PATIENCE_SECONDS, SHORT, Served, until
from tensors import EDGES

def given(name, datatype, array, binary=True):
    tensor = triton.InferInput(name, list(array.shape), datatype)
    tensor.set_data_from_numpy(array, binary_data=binary)
    return tensor


def wanted(name, binary=True):
    return triton.InferRequestedOutput(name, binary_data=binary)


def floats(*values):
    return [given("x", "FP32", np.array([values], np.float32))]


class Client(Served):
    def setUp(self):
        patience = dict(connection_timeout=PATIENCE_SECONDS, network_timeout=PATIENCE_SECONDS)
        address = self.front_end.query
        self.client = triton.InferenceServerClient(address, concurrency=8, **patience)
        self.addCleanup(self.client.close)

    def fails(self, status, call, *arguments, **more):
        """The client raises the error itself, not one about reading it."""
        with self.assertRaises(InferenceServerException) as raised:
            call(*arguments, **more)
        self.assertEqual(raised.exception.status(), str(status), raised.exception)
        return raised.exception.message()


class TestServer(Client):
    models = ("sum", "pair", "fp32", "absent")

    def test_the_client_is_the_published_one(self):
        self.assertEqual(importlib.metadata.version("tritonclient"), "2.73.0")

    def test_health(self):
        self.assertTrue(self.client.is_server_live())
        self.assertTrue(self.client.is_server_ready())
        self.assertTrue(self.client.is_model_ready("sum"))
        self.assertTrue(self.client.is_model_ready("sum", "1"))
        for model, version in [("sum", "2"), ("nobody", ""), ("absent", "")]:
            self.assertFalse(self.client.is_model_ready(model, version))

    def test_metadata(self):
        server = self.client.get_server_metadata()
        self.assertEqual(server["name"], "skysail")
        self.assertIn("binary_tensor_data", server["extensions"])
        model = self.client.get_model_metadata("pair", "1")
        self.assertEqual(model["name"], "pair")
        self.assertEqual(model["inputs"], [
            {"name": "a", "datatype": "FP32", "shape": [-1, 2]},
            {"name": "b", "datatype": "INT32", "shape": [-1]}])
        self.fails(404, self.client.get_model_metadata, "nobody")
        self.fails(503, self.client.get_model_metadata, "absent")

    def test_configuration(self):
        config = self.client.get_model_config("pair")
        self.assertEqual((config["name"], config["max_batch_size"]), ("pair", 1024))
        self.assertEqual([one["data_type"] for one in config["input"]], ["TYPE_FP32", "TYPE_INT32"])
        self.fails(404, self.client.get_model_config, "nobody")

    def test_statistics_count_requests_rows_and_cache_hits(self):
        def statistics():
            [one] = self.client.get_inference_statistics("fp32", "1")["model_stats"]
            parts = one["inference_stats"]
            return {"success": parts["success"]["count"], "fail": parts["fail"]["count"],
                    "hit": parts["cache_hit"]["count"], "rows": one["inference_count"]}

        before = statistics()
        array = np.arange(9, dtype=np.float32).reshape(3, 3)
        for _ in range(2):
            self.client.infer("fp32", [given("x", "FP32", array)])
        expected = {"success": 2, "fail": 0, "hit": 3, "rows": 3}
        grown = {name: count - before[name] for name, count in statistics().items()}
        self.assertEqual(grown, expected)
        models = [one["name"] for one in self.client.get_inference_statistics()["model_stats"]]
        self.assertLessEqual({"sum", "pair", "fp32"}, set(models))
        self.fails(404, self.client.get_inference_statistics, "nobody")

    def test_the_index_has_the_state_of_each_version(self):
        index = {one["name"]: one for one in self.client.get_model_repository_index()}
        self.assertEqual(index["sum"]["state"], "READY")
        self.assertEqual(index["sum"]["version"], "1")
        self.assertEqual(index["absent"]["state"], "UNAVAILABLE")
        self.assertTrue(index["absent"]["reason"])

    def test_a_deployed_model_is_unloaded_and_loaded(self):
        self.client.unload_model("fp32")
        until("fp32 to be gone", lambda: not self.client.is_model_ready("fp32"))
        self.fails(503, self.client.infer, "fp32", floats(1, 2, 4))
        self.client.load_model("fp32")
        self.assertTrue(self.client.is_model_ready("fp32"), "a load returns when it is ready")
        self.client.infer("fp32", floats(1, 2, 4))
        self.client.load_model("fp32")
        self.fails(404, self.client.load_model, "nobody")
        self.fails(404, self.client.unload_model, "nobody")
        self.fails(400, self.client.load_model, "absent")
        self.fails(501, self.client.load_model, "fp32", config="{}")
        files = {"file:1/model.onnx": b"abc"}
        self.fails(501, self.client.load_model, "fp32", config="{}", files=files)

    def test_trace_and_log_settings_are_shown_and_not_changed(self):
        self.assertEqual(self.client.get_trace_settings()["trace_level"], ["OFF"])
        self.assertEqual(self.client.get_trace_settings("sum")["trace_level"], ["OFF"])
        self.client.update_trace_settings(settings={"trace_level": ["OFF"]})
        self.fails(501, self.client.update_trace_settings, settings={"trace_level": ["MAX"]})
        self.fails(404, self.client.get_trace_settings, "nobody")
        self.assertEqual(self.client.get_log_settings()["log_verbose_level"], 0)
        self.client.update_log_settings({"log_info": True})
        self.fails(501, self.client.update_log_settings, {"log_verbose_level": 3})

    def test_shared_memory_is_off_and_unregistering_all_works_all_the_same(self):
        self.client.unregister_system_shared_memory()
        self.client.unregister_cuda_shared_memory()
        self.assertEqual(self.client.get_system_shared_memory_status(), [])
        self.assertEqual(self.client.get_cuda_shared_memory_status(), [])
        self.fails(501, self.client.register_system_shared_memory, "r", "/skysail-test", 64)
        self.fails(501, self.client.register_cuda_shared_memory, "r", b"handle", 0, 64)
        region = triton.InferInput("x", [1, 3], "FP32")
        region.set_shared_memory("r", 12)
        self.fails(501, self.client.infer, "fp32", [region])


class TestInfer(Client):
    models = ("sum", "upper", "pair", "vary", "texts", "slow", *(name.lower() for name in SHORT))

    def test_every_datatype_in_every_combination_of_forms(self):
        for name, array in EDGES.items():
            forms = [True] if name in ("FP16", "BF16") else [True, False]
            for of_input, of_output in itertools.product(forms, forms):
                if name == "BYTES" and not (of_input and of_output):
                    array = np.array([b"", b"a\nb", "é".encode()], np.object_)
                with self.subTest(name, binary_input=of_input, binary_output=of_output):
                    tensor = given("x", name, array.reshape(1, 3), of_input)
                    outputs = [wanted("x_out", of_output)]
                    result = self.client.infer(name.lower(), [tensor], outputs=outputs)
                    found = result.as_numpy("x_out")
                    self.assertEqual(found.shape, (1, 3))
                    if name == "BYTES" and not of_output:
                        found = np.char.encode(found.astype(str), "utf-8")
                    self.assertEqual(found[0].tolist(), array.tolist())

    def test_without_outputs_all_come_in_binary(self):
        a, b = np.array([[1, 2], [3, 4]], np.float32), np.array([5, -6], np.int32)
        result = self.client.infer("pair", [given("b", "INT32", b), given("a", "FP32", a)])
        np.testing.assert_array_equal(result.as_numpy("a_out"), a)
        np.testing.assert_array_equal(result.as_numpy("b_out"), b)
        self.assertEqual(result.get_output("b_out")["parameters"], {"binary_data_size": 8})
        self.assertIsNone(result.as_numpy("c_out"))

    def test_inputs_and_outputs_mix_their_forms(self):
        a, b = np.array([[1, 2]], np.float32), np.array([5], np.int32)
        for forms in itertools.product([True, False], repeat=4):
            inputs = [given("a", "FP32", a, forms[0]), given("b", "INT32", b, forms[1])]
            outputs = [wanted("b_out", forms[2]), wanted("a_out", forms[3])]
            result = self.client.infer("pair", inputs, outputs=outputs)
            np.testing.assert_array_equal(result.as_numpy("a_out"), a)
            np.testing.assert_array_equal(result.as_numpy("b_out"), b)

    def test_a_model_that_computes(self):
        rows = np.array([[1, 2.5, -4], [0, 0, 8]])
        result = self.client.infer("sum", [given("x", "FP64", rows)])
        np.testing.assert_array_equal(result.as_numpy("sum"), rows.sum(axis=1))
        texts = np.array([b"ab", "é".encode()], np.object_)
        result = self.client.infer("upper", [given("text", "BYTES", texts)])
        self.assertEqual(result.as_numpy("upper").tolist(), [b"AB", "É".encode()])

    def test_dimensions_vary_from_request_to_request(self):
        for rows in [1, 0, 4]:
            array = np.arange(rows * 2, dtype=np.float32).reshape(1, rows, 2)
            result = self.client.infer("vary", [given("v", "FP32", array)])
            np.testing.assert_array_equal(result.as_numpy("v_out"), array)

    def test_texts_of_any_number_a_row(self):
        t = np.array([[b"a", b"", "é".encode()]], np.object_)
        b = np.array([b"\x00\xff"], np.object_)
        result = self.client.infer("texts", [given("t", "BYTES", t), given("b", "BYTES", b)])
        self.assertEqual(result.as_numpy("t_out").tolist(), t.tolist())
        self.assertEqual(result.as_numpy("b_out").tolist(), b.tolist())

    def test_big_tensors(self):
        array = np.random.default_rng(1).random((1, 1_000_000, 2), np.float32)
        result = self.client.infer("vary", [given("v", "FP32", array)])
        np.testing.assert_array_equal(result.as_numpy("v_out"), array)
        array = array[:, :100_000]
        outputs = [wanted("v_out", False)]
        result = self.client.infer("vary", [given("v", "FP32", array, False)], outputs=outputs)
        np.testing.assert_array_equal(result.as_numpy("v_out"), array)

    def test_request_ids_come_back(self):
        response = self.client.infer("fp32", floats(1, 2, 3), request_id="a/7 é").get_response()
        self.assertEqual(response["id"], "a/7 é")
        response = self.client.infer("fp32", floats(1, 2, 3)).get_response()
        self.assertFalse(response.get("id"))

    def test_versions_are_asked_by_name(self):
        result = self.client.infer("fp32", floats(1, 2, 3), model_version="1")
        self.assertEqual(result.get_response()["model_version"], "1")
        self.fails(404, self.client.infer, "fp32", floats(1, 2, 3), model_version="2")

    def test_timeout_priority_and_parameters(self):
        more = dict(timeout=20_000_000, priority=1, query_params={"q": 1},
                    headers={"X-Else": "1"}, parameters={"else": "x", "n": 1, "b": True})
        result = self.client.infer("fp32", floats(1, 2, 3), **more)
        np.testing.assert_array_equal(result.as_numpy("x_out"), [[1, 2, 3]])
        x = [given("x", "FP32", np.array([1], np.float32))]
        self.fails(504, self.client.infer, "slow", x, timeout=50_000)

    def test_explanations_and_the_cache_are_told_in_parameters(self):
        explain = {"skysail_explain": True}
        for cached in [False, True]:
            result = self.client.infer("fp32", floats(7, 8, 9), parameters=explain)
            parameters = result.get_response()["parameters"]
            self.assertEqual(parameters.get("skysail_cached", False), cached)
            self.assertIn('"rows":1', parameters["skysail_explain"])
        anew = {"skysail_cache": False}
        response = self.client.infer("fp32", floats(7, 8, 9), parameters=anew).get_response()
        self.assertNotIn("skysail_cached", response.get("parameters", {}))

    def test_compression_of_both_ways(self):
        array = np.ones((500, 3), np.float32)
        ways = [None, "gzip", "deflate"]
        for request, response, binary in itertools.product(ways, ways, [True, False]):
            result = self.client.infer(
                "fp32", [given("x", "FP32", array, binary)], outputs=[wanted("x_out", binary)],
                request_compression_algorithm=request, response_compression_algorithm=response)
            np.testing.assert_array_equal(result.as_numpy("x_out"), array)

    def test_many_requests_at_a_time(self):
        def ask(value):
            return self.client.async_infer("fp32", floats(value, 0, 1), request_id=str(value))

        for value, asked in [(value, ask(value)) for value in range(64)]:
            result = asked.get_result(timeout=PATIENCE_SECONDS)
            self.assertEqual(result.get_response()["id"], str(value))
            np.testing.assert_array_equal(result.as_numpy("x_out"), [[value, 0, 1]])
        asked = self.client.async_infer("nobody", floats(1, 2, 3))
        self.fails(404, asked.get_result)

    def test_bodies_are_made_and_read_apart_from_the_connection(self):
        body, header = triton.InferenceServerClient.generate_request_body(floats(1, 2, 3))
        length = "Inference-Header-Content-Length"
        answer = self.infer("fp32", body, {length: str(header)})
        result = triton.InferenceServerClient.parse_response_body(
            answer.body, header_length=int(answer.headers[length]))
        np.testing.assert_array_equal(result.as_numpy("x_out"), [[1, 2, 3]])

    def test_errors_say_what_is_wrong(self):
        call = self.client.infer
        self.assertIn("nobody", self.fails(404, call, "nobody", floats(1, 2, 3)))
        self.assertIn("[1, 2]", self.fails(400, call, "fp32", floats(1, 2)))
        wrong = [given("x", "FP64", np.array([[1.0, 2, 3]]))]
        self.assertIn("FP64", self.fails(400, call, "fp32", wrong))
        outputs = [wanted("none")]
        self.assertIn("none", self.fails(400, call, "fp32", floats(1, 2, 3), outputs=outputs))
        classes = [triton.InferRequestedOutput("x_out", class_count=2)]
        self.fails(501, call, "fp32", floats(1, 2, 3), outputs=classes)
        self.fails(501, call, "fp32", floats(1, 2, 3), sequence_id=7, sequence_start=True)


if __name__ == "__main__":
    unittest.main()
