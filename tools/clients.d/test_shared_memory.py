"""System shared memory of an unmodified tritonclient, over HTTP and gRPC."""

import os
import unittest

import numpy as np
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException, serialize_byte_tensor, shared_memory

from served import Served

A = np.array([[1, 2], [3, 4]], np.float32)
B = np.array([5, -6], np.int32)


class Memory:
    """What holds for both protocols; ``triton`` is the client's module."""

    models = ("pair", "bytes")
    flags = ("--client-shm", "skysail-test-*")

    def setUp(self):
        self.client = self.triton.InferenceServerClient(self.front_end.query)
        self.addCleanup(self.client.close)
        self.addCleanup(self.client.unregister_system_shared_memory)
        self.prefix = f"/skysail-test-{os.getpid()}-{self._testMethodName[:40]}"

    def region(self, name, size=64, register=True):
        key = f"{self.prefix}-{name}"
        handle = shared_memory.create_shared_memory_region(name, key, size)
        self.addCleanup(shared_memory.destroy_shared_memory_region, handle)
        if register:
            self.client.register_system_shared_memory(name, key, size)
        return handle

    def given(self, name, datatype, array, region, offset=0, size=None):
        tensor = self.triton.InferInput(name, list(array.shape), datatype)
        tensor.set_shared_memory(region, array.nbytes if size is None else size, offset)
        return tensor

    def wanted(self, name, region, size, offset=0):
        output = self.triton.InferRequestedOutput(name)
        output.set_shared_memory(region, size, offset)
        return output

    def pair(self, outputs=None):
        inputs = [self.given("a", "FP32", A, "in"), self.given("b", "INT32", B, "in", A.nbytes)]
        return self.client.infer("pair", inputs, outputs=outputs)

    def fails(self, call, *arguments, **more):
        with self.assertRaises(InferenceServerException) as raised:
            call(*arguments, **more)
        # Over HTTP a status, over gRPC a code.
        refused = ["400", "StatusCode.INVALID_ARGUMENT", "StatusCode.ALREADY_EXISTS"]
        self.assertIn(raised.exception.status(), refused)
        return raised.exception.message()

    def test_inputs_and_outputs_lie_in_regions(self):
        region = self.region("in")
        shared_memory.set_shared_memory_region(region, [A, B])
        result = self.pair()
        np.testing.assert_array_equal(result.as_numpy("a_out"), A)
        np.testing.assert_array_equal(result.as_numpy("b_out"), B)
        out = self.region("out")
        result = self.pair([self.wanted("b_out", "out", 8, 32), self.wanted("a_out", "out", 16)])
        found = shared_memory.get_contents_as_numpy(out, np.float32, [2, 2])
        np.testing.assert_array_equal(found, A)
        found = shared_memory.get_contents_as_numpy(out, np.int32, [2], 32)
        np.testing.assert_array_equal(found, B)
        self.assertEqual(list(self.shape(result.get_output("a_out"))), [2, 2])

    def test_one_output_may_lie_in_a_region_and_another_come_back(self):
        shared_memory.set_shared_memory_region(self.region("in"), [A, B])
        self.region("out")
        plain = self.triton.InferRequestedOutput("b_out")
        result = self.pair([self.wanted("a_out", "out", 16), plain])
        np.testing.assert_array_equal(result.as_numpy("b_out"), B)

    def test_one_input_may_lie_in_a_region_and_another_come_along(self):
        shared_memory.set_shared_memory_region(self.region("in"), [A])
        b = self.triton.InferInput("b", [2], "INT32")
        b.set_data_from_numpy(B)
        for inputs in [[self.given("a", "FP32", A, "in"), b], [b, self.given("a", "FP32", A, "in")]]:
            result = self.client.infer("pair", inputs)
            np.testing.assert_array_equal(result.as_numpy("a_out"), A)
            np.testing.assert_array_equal(result.as_numpy("b_out"), B)

    def test_a_region_of_terabytes_takes_no_room(self):
        key = f"{self.prefix}-huge"
        path = f"/dev/shm{key}"
        with open(path, "wb") as file:
            self.addCleanup(os.remove, path)
            file.truncate(1 << 42)
        self.client.register_system_shared_memory("huge", key, 1 << 42)
        inputs = [self.given("a", "FP32", A, "huge", size=1 << 42),
                  self.given("b", "INT32", B, "huge")]
        with self.assertRaises(InferenceServerException) as raised:
            self.client.infer("pair", inputs)
        self.assertIn(raised.exception.status(), ["413", "StatusCode.RESOURCE_EXHAUSTED"])
        self.assertTrue(self.client.is_server_live())

    def test_byte_strings_lie_with_their_lengths(self):
        strings = np.array([[b"a", b"", b"\xff\x00"]], np.object_)
        packed = serialize_byte_tensor(strings)
        size = len(packed.item())
        shared_memory.set_shared_memory_region(self.region("in"), [packed])
        out = self.region("out")
        given = self.given("x", "BYTES", strings, "in", size=size)
        self.client.infer("bytes", [given], outputs=[self.wanted("x_out", "out", 64)])
        found = shared_memory.get_contents_as_numpy(out, np.object_, [1, 3])
        self.assertEqual(found.tolist(), strings.tolist())

    def test_the_status_tells_the_regions(self):
        self.region("in", 128)
        self.region("out")
        by_name = self.regions(self.client.get_system_shared_memory_status())
        self.assertEqual(by_name, {"in": (f"{self.prefix}-in", 0, 128),
                                   "out": (f"{self.prefix}-out", 0, 64)})
        one = self.regions(self.client.get_system_shared_memory_status("in"))
        self.assertEqual(list(one), ["in"])
        self.client.unregister_system_shared_memory("in")
        left = self.regions(self.client.get_system_shared_memory_status())
        self.assertEqual(list(left), ["out"])
        self.client.unregister_system_shared_memory()
        self.assertEqual(self.regions(self.client.get_system_shared_memory_status()), {})

    def test_a_region_may_begin_inside_its_object(self):
        region = self.region("in", register=False)
        shared_memory.set_shared_memory_region(region, [A, B], 16)
        self.client.register_system_shared_memory("in", f"{self.prefix}-in", 48, offset=16)
        np.testing.assert_array_equal(self.pair().as_numpy("b_out"), B)

    def test_what_does_not_fit_is_refused(self):
        shared_memory.set_shared_memory_region(self.region("in"), [A, B])
        self.region("out", 8)
        self.fails(self.pair, [self.wanted("a_out", "out", 8)])
        self.fails(self.pair, [self.wanted("a_out", "out", 16)])
        self.fails(self.pair, [self.wanted("a_out", "nobody", 16)])
        b = self.given("b", "INT32", B, "in", 16)
        for wrong in [self.given("a", "FP32", A, "in", 56), self.given("a", "FP32", A, "in", size=8),
                      self.given("a", "FP32", A, "nobody")]:
            self.fails(self.client.infer, "pair", [wrong, b])

    def test_only_whole_objects_of_allowed_names_are_registered(self):
        self.region("in")
        register = self.client.register_system_shared_memory
        self.fails(register, "in", f"{self.prefix}-in", 64)
        for key, size, offset in [
            (f"{self.prefix}-in", 65, 0), (f"{self.prefix}-in", 64, 1), (f"{self.prefix}-in", 0, 0),
            ("/other", 64, 0), (f"{self.prefix}-none", 64, 0), ("/skysail-test-../x", 64, 0),
            ("skysail-test-x", 64, 0), (f"{self.prefix}-in", 1 << 62, 1 << 62),
        ]:
            self.fails(register, "other", key, size, offset=offset)


class TestHttp(Memory, Served):
    triton = tritonclient.http

    @staticmethod
    def regions(status):
        return {one["name"]: (one["key"], one["offset"], one["byte_size"]) for one in status}

    @staticmethod
    def shape(output):
        return output["shape"]

    def test_the_extension_is_told(self):
        self.assertIn("system_shared_memory", self.client.get_server_metadata()["extensions"])

    def test_an_output_in_a_region_has_a_name_a_type_and_a_shape_only(self):
        shared_memory.set_shared_memory_region(self.region("in"), [A, B])
        self.region("out")
        result = self.pair([self.wanted("a_out", "out", 16)])
        expected = {"name": "a_out", "datatype": "FP32", "shape": [2, 2]}
        self.assertEqual(result.get_output("a_out"), expected)


class TestGrpc(Memory, Served):
    triton = tritonclient.grpc

    @staticmethod
    def regions(status):
        told = status.regions.items()
        return {name: (one.key, one.offset, one.byte_size) for name, one in told}

    @staticmethod
    def shape(output):
        return output.shape

    def test_regions_of_http_are_those_of_grpc(self):
        self.region("in", 128)
        other = tritonclient.http.InferenceServerClient(self.front_end.query)
        self.addCleanup(other.close)
        [region] = other.get_system_shared_memory_status()
        self.assertEqual((region["name"], region["byte_size"]), ("in", 128))
        other.unregister_system_shared_memory("in")
        self.assertFalse(self.client.get_system_shared_memory_status().regions)


if __name__ == "__main__":
    unittest.main()
