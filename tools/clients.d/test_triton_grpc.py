"""An unmodified tritonclient over gRPC, and the messages that it is made of."""

import json
import queue
import unittest

import grpc
import numpy as np
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2 as messages
from tritonclient.grpc import service_pb2_grpc
from tritonclient.utils import InferenceServerException

from served import PATIENCE_SECONDS, SHORT, SLOW_SECONDS, Served, until
from tensors import EDGES


def given(name, datatype, array):
    tensor = triton.InferInput(name, list(array.shape), datatype)
    tensor.set_data_from_numpy(array)
    return tensor


def floats(*values):
    return [given("x", "FP32", np.array([values], np.float32))]


def slow(value):
    return [given("x", "FP32", np.array([value], np.float32))]


class Client(Served):
    def setUp(self):
        self.client = triton.InferenceServerClient(self.front_end.query)
        self.addCleanup(self.client.close)

    def fails(self, code, call, *arguments, **more):
        with self.assertRaises(InferenceServerException) as raised:
            call(*arguments, **more)
        self.assertEqual(raised.exception.status(), f"StatusCode.{code}", raised.exception)
        return raised.exception.message()


class TestServer(Client):
    models = ("sum", "pair", "fp32", "absent")

    def test_health(self):
        self.assertTrue(self.client.is_server_live())
        self.assertTrue(self.client.is_server_ready())
        self.assertTrue(self.client.is_model_ready("sum"))
        self.assertTrue(self.client.is_model_ready("sum", "1"))
        self.assertFalse(self.client.is_model_ready("absent"))
        self.fails("NOT_FOUND", self.client.is_model_ready, "nobody")

    def test_metadata(self):
        server = self.client.get_server_metadata()
        self.assertEqual(server.name, "skysail")
        self.assertIn("binary_tensor_data", server.extensions)
        model = self.client.get_model_metadata("pair", "1", as_json=True)
        self.assertEqual(model["versions"], ["1"])
        self.assertEqual(model["inputs"], [
            {"name": "a", "datatype": "FP32", "shape": ["-1", "2"]},
            {"name": "b", "datatype": "INT32", "shape": ["-1"]}])
        self.fails("NOT_FOUND", self.client.get_model_metadata, "nobody")
        self.fails("NOT_FOUND", self.client.get_model_metadata, "pair", "9")
        self.fails("UNAVAILABLE", self.client.get_model_metadata, "absent")

    def test_configuration(self):
        config = self.client.get_model_config("pair").config
        self.assertEqual((config.name, config.max_batch_size), ("pair", 1024))
        self.assertEqual([list(one.dims) for one in config.input], [[2], [1]])
        self.assertTrue(config.HasField("dynamic_batching"))
        self.fails("NOT_FOUND", self.client.get_model_config, "nobody")

    def test_statistics_count_requests_rows_and_cache_hits(self):
        def statistics():
            [one] = self.client.get_inference_statistics("fp32", "1").model_stats
            parts = one.inference_stats
            # Clients of C++ read each without asking whether it is there.
            for member in parts.DESCRIPTOR.fields_by_name:
                self.assertTrue(parts.HasField(member), member)
            return {"success": parts.success.count, "fail": parts.fail.count,
                    "hit": parts.cache_hit.count, "rows": one.inference_count}

        before = statistics()
        array = np.arange(9, dtype=np.float32).reshape(3, 3)
        for _ in range(2):
            self.client.infer("fp32", [given("x", "FP32", array)])
        expected = {"success": 2, "fail": 0, "hit": 3, "rows": 3}
        grown = {name: count - before[name] for name, count in statistics().items()}
        self.assertEqual(grown, expected)
        models = [one.name for one in self.client.get_inference_statistics().model_stats]
        self.assertLessEqual({"sum", "pair", "fp32"}, set(models))
        self.fails("NOT_FOUND", self.client.get_inference_statistics, "nobody")

    def test_the_index_has_the_state_of_each_version(self):
        index = {one.name: one for one in self.client.get_model_repository_index().models}
        self.assertEqual((index["sum"].version, index["sum"].state), ("1", "READY"))
        self.assertEqual(index["absent"].state, "UNAVAILABLE")
        stub = service_pb2_grpc.GRPCInferenceServiceStub(self.client._channel)
        ready = stub.RepositoryIndex(messages.RepositoryIndexRequest(ready=True)).models
        self.assertNotIn("absent", [one.name for one in ready])

    def test_a_deployed_model_is_unloaded_and_loaded(self):
        self.client.unload_model("fp32")
        until("fp32 to be gone", lambda: not self.client.is_model_ready("fp32"))
        self.fails("UNAVAILABLE", self.client.infer, "fp32", floats(1, 2, 4))
        self.client.load_model("fp32")
        self.assertTrue(self.client.is_model_ready("fp32"), "a load returns when it is ready")
        self.client.infer("fp32", floats(1, 2, 4))
        self.fails("NOT_FOUND", self.client.load_model, "nobody")
        self.fails("NOT_FOUND", self.client.unload_model, "nobody")
        self.fails("INVALID_ARGUMENT", self.client.load_model, "absent")
        self.fails("UNIMPLEMENTED", self.client.load_model, "fp32", config="{}")

    def test_trace_and_log_settings_are_shown_and_not_changed(self):
        settings = self.client.get_trace_settings().settings
        self.assertEqual(list(settings["trace_level"].value), ["OFF"])
        self.client.get_trace_settings("sum")
        self.client.update_trace_settings(settings={"trace_level": ["OFF"]})
        self.client.update_trace_settings(settings={"trace_level": None})
        update = self.client.update_trace_settings
        self.fails("UNIMPLEMENTED", update, settings={"trace_level": ["MAX"]})
        self.fails("NOT_FOUND", self.client.get_trace_settings, "nobody")
        settings = self.client.get_log_settings().settings
        self.assertEqual(settings["log_verbose_level"].uint32_param, 0)
        self.assertTrue(settings["log_info"].bool_param)
        self.client.update_log_settings({"log_info": True, "log_verbose_level": None})
        self.fails("UNIMPLEMENTED", self.client.update_log_settings, {"log_verbose_level": 3})

    def test_shared_memory_is_off_and_unregistering_all_works_all_the_same(self):
        self.client.unregister_system_shared_memory()
        self.client.unregister_cuda_shared_memory()
        self.assertFalse(self.client.get_system_shared_memory_status().regions)
        self.assertFalse(self.client.get_cuda_shared_memory_status().regions)
        register = self.client.register_system_shared_memory
        self.fails("UNIMPLEMENTED", register, "r", "/skysail-test", 64)
        register = self.client.register_cuda_shared_memory
        self.fails("UNIMPLEMENTED", register, "r", b"aGFuZGxl", 0, 64)
        region = triton.InferInput("x", [1, 3], "FP32")
        region.set_shared_memory("r", 12)
        self.fails("UNIMPLEMENTED", self.client.infer, "fp32", [region])


class TestInfer(Client):
    models = ("sum", "upper", "pair", "vary", "texts", "slow", *(name.lower() for name in SHORT))

    def test_every_datatype(self):
        for name, array in EDGES.items():
            with self.subTest(name):
                result = self.client.infer(name.lower(), [given("x", name, array.reshape(1, 3))])
                found = result.as_numpy("x_out")
                self.assertEqual(found.shape, (1, 3))
                self.assertEqual(found[0].tolist(), array.tolist())
                self.assertEqual(result.get_output("x_out").datatype, name)

    def test_several_inputs_and_outputs_by_name(self):
        a, b = np.array([[1, 2], [3, 4]], np.float32), np.array([5, -6], np.int32)
        inputs = [given("b", "INT32", b), given("a", "FP32", a)]
        for wanted in [None, ["b_out"], ["b_out", "a_out"]]:
            outputs = wanted and [triton.InferRequestedOutput(name) for name in wanted]
            result = self.client.infer("pair", inputs, outputs=outputs)
            np.testing.assert_array_equal(result.as_numpy("b_out"), b)
            names = [one.name for one in result.get_response().outputs]
            self.assertEqual(names, wanted or ["a_out", "b_out"])
        np.testing.assert_array_equal(result.as_numpy("a_out"), a)

    def test_models_that_compute(self):
        rows = np.array([[1, 2.5, -4], [0, 0, 8]])
        result = self.client.infer("sum", [given("x", "FP64", rows)])
        np.testing.assert_array_equal(result.as_numpy("sum"), rows.sum(axis=1))
        texts = np.array([b"ab", "é".encode()], np.object_)
        result = self.client.infer("upper", [given("text", "BYTES", texts)])
        self.assertEqual(result.as_numpy("upper").tolist(), [b"AB", "É".encode()])

    def test_dimensions_vary_from_request_to_request(self):
        for rows in [1, 4]:
            array = np.arange(rows * 2, dtype=np.float32).reshape(1, rows, 2)
            result = self.client.infer("vary", [given("v", "FP32", array)])
            np.testing.assert_array_equal(result.as_numpy("v_out"), array)

    def test_an_empty_tensor(self):
        array = np.zeros((1, 0, 2), np.float32)
        result = self.client.infer("vary", [given("v", "FP32", array)])
        self.assertEqual(result.as_numpy("v_out").shape, (1, 0, 2))

    def test_big_tensors(self):
        array = np.random.default_rng(1).random((1, 1_000_000, 2), np.float32)
        result = self.client.infer("vary", [given("v", "FP32", array)])
        np.testing.assert_array_equal(result.as_numpy("v_out"), array)

    def test_messages_over_the_limit_are_refused(self):
        array = np.zeros((1, 9_000_000, 2), np.float32)
        with self.assertRaises(InferenceServerException) as raised:
            self.client.infer("vary", [given("v", "FP32", array)])
        codes = ["StatusCode.RESOURCE_EXHAUSTED", "StatusCode.OUT_OF_RANGE"]
        self.assertIn(raised.exception.status(), codes, raised.exception)

    def test_request_ids_and_versions(self):
        result = self.client.infer("fp32", floats(1, 2, 3), request_id="a/7 é", model_version="1")
        response = result.get_response()
        self.assertEqual((response.id, response.model_name), ("a/7 é", "fp32"))
        self.assertEqual(response.model_version, "1")
        self.assertEqual(self.client.infer("fp32", floats(1, 2, 3)).get_response().id, "")
        wrong = dict(model_version="2")
        self.fails("NOT_FOUND", self.client.infer, "fp32", floats(1, 2, 3), **wrong)

    def test_timeout_priority_and_parameters(self):
        more = dict(timeout=20_000_000, priority=1, headers={"x-else": "1"},
                    parameters={"else": "x", "n": 1, "b": True, "f": 1.5})
        result = self.client.infer("fp32", floats(1, 2, 3), **more)
        np.testing.assert_array_equal(result.as_numpy("x_out"), [[1, 2, 3]])
        self.fails("DEADLINE_EXCEEDED", self.client.infer, "slow", slow(1), timeout=50_000)

    def test_the_time_of_the_call_bounds_the_answer(self):
        call = self.client.infer
        self.fails("DEADLINE_EXCEEDED", call, "slow", slow(2), client_timeout=SLOW_SECONDS / 10)
        # The client gives up by itself; that the front end would too, stands in an explanation.
        explain = {"skysail_explain": True, "skysail_cache": False}
        for own, call_seconds, expected in [(4, 5, 4), (5, 4, 4), (None, 5, 5)]:
            more = dict(timeout=own and own * 1_000_000, client_timeout=call_seconds)
            result = call("fp32", floats(1, 2, 3), parameters=explain, **more)
            told = result.get_response().parameters["skysail_explain"].string_param
            limit_micros = json.loads(told)["limit_micros"]
            # The client rounds the time of a call up when it says it.
            self.assertLessEqual(limit_micros, expected * 1_100_000)
            self.assertGreater(limit_micros, expected * 900_000)

    def test_explanations_and_the_cache_are_told_in_parameters(self):
        for cached in [False, True]:
            explain = {"skysail_explain": True}
            result = self.client.infer("fp32", floats(7, 8, 9), parameters=explain)
            parameters = result.get_response().parameters
            self.assertEqual(parameters["skysail_cached"].bool_param, cached)
            self.assertIn('"rows":1', parameters["skysail_explain"].string_param)

    def test_compression_of_messages(self):
        array = np.ones((500, 3), np.float32)
        for algorithm in ["gzip", None]:
            inputs = [given("x", "FP32", array)]
            result = self.client.infer("fp32", inputs, compression_algorithm=algorithm)
            np.testing.assert_array_equal(result.as_numpy("x_out"), array)
        deflate = dict(compression_algorithm="deflate")
        self.fails("UNIMPLEMENTED", self.client.infer, "fp32", floats(1, 2, 3), **deflate)

    def test_many_requests_at_a_time(self):
        answers = queue.Queue()
        for value in range(64):
            back = lambda result, error: answers.put((result, error))
            self.client.async_infer("fp32", floats(value, 0, 1), back, request_id=str(value))
        seen = set()
        for _ in range(64):
            result, error = answers.get(timeout=PATIENCE_SECONDS)
            self.assertIsNone(error)
            value = int(result.get_response().id)
            np.testing.assert_array_equal(result.as_numpy("x_out"), [[value, 0, 1]])
            seen.add(value)
        self.assertEqual(len(seen), 64)

    def test_errors_say_what_is_wrong(self):
        call = self.client.infer
        self.assertIn("nobody", self.fails("NOT_FOUND", call, "nobody", floats(1, 2, 3)))
        self.assertIn("[1, 2]", self.fails("INVALID_ARGUMENT", call, "fp32", floats(1, 2)))
        outputs = [triton.InferRequestedOutput("none")]
        told = self.fails("INVALID_ARGUMENT", call, "fp32", floats(1, 2, 3), outputs=outputs)
        self.assertIn("none", told)
        classes = [triton.InferRequestedOutput("x_out", class_count=2)]
        self.fails("UNIMPLEMENTED", call, "fp32", floats(1, 2, 3), outputs=classes)
        sequence = dict(sequence_id=7, sequence_start=True)
        self.fails("UNIMPLEMENTED", call, "fp32", floats(1, 2, 3), **sequence)


class Messages(Client):
    def setUp(self):
        super().setUp()
        self.stub = service_pb2_grpc.GRPCInferenceServiceStub(self.client._channel)

    def message(self, datatype="FP32", raw=None, contents=None, model=None, **more):
        message = messages.ModelInferRequest(model_name=model or datatype.lower(), **more)
        tensor = message.inputs.add(name="x", datatype=datatype, shape=[1, 3])
        if contents is not None:
            tensor.contents.SetInParent()
            for name, values in contents.items():
                getattr(tensor.contents, name).extend(values)
        if raw is not None:
            message.raw_input_contents.append(raw)
        return message

    def refuses(self, code, message):
        with self.assertRaises(grpc.RpcError) as raised:
            self.stub.ModelInfer(message, timeout=PATIENCE_SECONDS)
        self.assertEqual(raised.exception.code(), code, raised.exception)
        return raised.exception.details()


class TestMessages(Messages):
    models = ("pair", *(name.lower() for name in SHORT))

    fields = {
        "BOOL": "bool_contents", "UINT8": "uint_contents", "UINT16": "uint_contents",
        "UINT32": "uint_contents", "UINT64": "uint64_contents", "INT8": "int_contents",
        "INT16": "int_contents", "INT32": "int_contents", "INT64": "int64_contents",
        "FP32": "fp32_contents", "FP64": "fp64_contents", "BYTES": "bytes_contents",
    }

    def test_typed_contents_are_taken_and_raw_contents_answered(self):
        for name, field in self.fields.items():
            with self.subTest(name):
                contents = {field: EDGES[name].tolist()}
                response = self.stub.ModelInfer(self.message(name, contents=contents))
                [raw] = response.raw_output_contents
                [output] = response.outputs
                self.assertFalse(output.HasField("contents"))
                found = triton.InferResult(response).as_numpy("x_out")[0]
                self.assertEqual(found.tolist(), EDGES[name].tolist())

    def test_contents_of_another_field_count_or_range_are_refused(self):
        refused = grpc.StatusCode.INVALID_ARGUMENT
        for name, contents in [
            ("FP32", {"fp64_contents": [1, 2, 3]}), ("FP32", {"fp32_contents": [1, 2]}),
            ("FP32", {"fp32_contents": [1, 2, 3, 4]}), ("INT8", {"int_contents": [1, 2, 128]}),
            ("UINT8", {"uint_contents": [1, 2, 256]}), ("FP32", {}), ("FP32", None),
            ("INT64", {"int_contents": [1, 2, 3]}),
        ]:
            with self.subTest(name, contents=contents):
                self.refuses(refused, self.message(name, contents=contents))

    def test_half_precision_needs_raw_contents(self):
        for name in ["FP16", "BF16"]:
            message = self.message(name, contents={"fp32_contents": [1, 2, 3]})
            self.refuses(grpc.StatusCode.INVALID_ARGUMENT, message)
            response = self.stub.ModelInfer(self.message(name, raw=b"\1\2\3\4\5\6"))
            self.assertEqual(response.raw_output_contents, [b"\1\2\3\4\5\6"])

    def test_raw_and_typed_contents_exclude_each_other_for_the_whole_request(self):
        refused = grpc.StatusCode.INVALID_ARGUMENT
        both = self.message(raw=b"\0" * 12, contents={"fp32_contents": [1, 2, 3]})
        self.refuses(refused, both)
        message = messages.ModelInferRequest(model_name="pair")
        message.inputs.add(name="a", datatype="FP32", shape=[1, 2])
        other = message.inputs.add(name="b", datatype="INT32", shape=[1])
        other.contents.int_contents.append(5)
        message.raw_input_contents.append(b"\0" * 8)
        self.refuses(refused, message)

    def test_raw_contents_fit_to_the_byte_and_belong_to_an_input(self):
        refused = grpc.StatusCode.INVALID_ARGUMENT
        for size in [0, 11, 13]:
            self.refuses(refused, self.message(raw=b"\0" * size))
        message = self.message(raw=b"\0" * 12)
        message.raw_input_contents.append(b"")
        self.refuses(refused, message)

    def test_shapes_that_cannot_be_are_refused(self):
        for shape in [[-1, 3], [3], [1, 1 << 62], [1 << 62, 3], [], [0, 3], [1 << 32, 1 << 32]]:
            message = self.message(raw=b"\0" * 12)
            message.inputs[0].shape[:] = shape
            self.refuses(grpc.StatusCode.INVALID_ARGUMENT, message)

    def test_names_that_stand_twice_are_refused(self):
        message = self.message(raw=b"\0" * 12)
        message.inputs.append(message.inputs[0])
        message.raw_input_contents.append(b"\0" * 12)
        self.refuses(grpc.StatusCode.INVALID_ARGUMENT, message)
        message = self.message(raw=b"\0" * 12)
        message.outputs.add(name="x_out")
        message.outputs.add(name="x_out")
        self.refuses(grpc.StatusCode.INVALID_ARGUMENT, message)

    def test_parameters_have_types_and_those_of_triton_are_tolerated(self):
        message = self.message(raw=b"\0" * 12)
        message.parameters["triton_enable_empty_final_response"].bool_param = True
        message.parameters["timeout"].int64_param = 20_000_000
        message.parameters["priority"].uint64_param = 1
        message.parameters["sequence_id"].int64_param = 0
        message.parameters["unset"].SetInParent()
        self.stub.ModelInfer(message)
        message.parameters["timeout"].int64_param = -1
        self.refuses(grpc.StatusCode.INVALID_ARGUMENT, message)
        message.parameters["timeout"].string_param = "soon"
        self.refuses(grpc.StatusCode.INVALID_ARGUMENT, message)

    def test_not_a_number_passes(self):
        raw = np.array([np.nan, np.inf, -0.0], np.float32).tobytes()
        response = self.stub.ModelInfer(self.message(raw=raw))
        self.assertEqual(response.raw_output_contents, [raw])


class TestStreams(Client):
    models = ("fp32", "slow", "pair")

    def setUp(self):
        super().setUp()
        self.answers = queue.Queue()
        self.addCleanup(self.client.stop_stream, True)

    def start(self, **more):
        self.client.start_stream(lambda result, error: self.answers.put((result, error)), **more)

    def next(self):
        return self.answers.get(timeout=PATIENCE_SECONDS)

    def send(self, value, model="fp32", **more):
        inputs = slow(value) if model == "slow" else floats(value, 0, 1)
        self.client.async_stream_infer(model, inputs, request_id=str(value), **more)

    def check(self, value):
        result, error = self.next()
        self.assertIsNone(error)
        response = result.get_response()
        self.assertEqual(response.id, str(value))
        self.assertTrue(response.parameters["triton_final_response"].bool_param)
        np.testing.assert_array_equal(result.as_numpy("x_out").flatten()[0], value)

    def test_requests_in_flight_are_answered_in_their_order(self):
        self.start()
        for value in range(200):
            self.send(value)
        for value in range(200):
            self.check(value)
        self.client.stop_stream()
        self.assertTrue(self.answers.empty())

    def test_a_quick_answer_waits_for_the_slow_one_before_it(self):
        self.start()
        self.send(1, "slow")
        self.send(2)
        self.check(1)
        self.check(2)

    def test_an_error_in_the_middle_leaves_the_stream_open(self):
        self.start()
        self.send(1)
        self.client.async_stream_infer("fp32", floats(1, 2), request_id="wrong")
        self.client.async_stream_infer("nobody", floats(1, 2, 3))
        self.send(2, enable_empty_final_response=True)
        self.check(1)
        for needle in ["[1, 2]", "nobody"]:
            result, error = self.next()
            self.assertIsNone(result)
            self.assertIn(needle, error.message())
        self.check(2)
        self.send(3)
        self.check(3)

    def test_a_stream_that_wants_statuses_ends_at_its_first_error(self):
        self.start(headers={"triton_grpc_error": "true"})
        self.send(1)
        self.check(1)
        self.client.async_stream_infer("nobody", floats(1, 2, 3))
        result, error = self.next()
        self.assertIsNone(result)
        self.assertEqual(error.status(), "StatusCode.NOT_FOUND")
        self.client.stop_stream(True)
        self.start()
        self.send(4)
        self.check(4)

    def test_a_stream_may_be_cancelled_with_requests_in_flight(self):
        self.start()
        self.send(5, "slow")
        self.client.stop_stream(cancel_requests=True)
        self.start()
        self.send(6)
        until("the answer on the new stream", lambda: self.is_answered("6"))

    def is_answered(self, request_id):
        result, _ = self.next()
        return result is not None and result.get_response().id == request_id

    def test_timeouts_are_those_of_each_request(self):
        self.start()
        self.send(7, "slow", timeout=50_000)
        self.send(8)
        result, error = self.next()
        self.assertIsNone(result)
        self.assertTrue(error.message())
        self.check(8)

    def test_messages_of_a_stream_may_be_compressed(self):
        self.start(compression_algorithm="gzip")
        self.send(9)
        self.check(9)


if __name__ == "__main__":
    unittest.main()
