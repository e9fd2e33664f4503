"""The protocol by sockets and the specification, without any client."""

import gzip
import json
import socket
import struct
import unittest
import zlib

from served import PATIENCE_SECONDS, SHORT, Served

LENGTH = "Inference-Header-Content-Length"


class Raw:
    """An answer, taken apart by hand."""

    def __init__(self, data):
        head, self.body = data.split(b"\r\n\r\n", 1)
        lines = head.decode("latin-1").split("\r\n")
        self.status = int(lines[0].split(" ")[1])
        pairs = [line.split(": ", 1) for line in lines[1:]]
        self.headers = {name.lower(): value for name, value in pairs}

    def json(self):
        return json.loads(self.body)


class Sockets(Served):
    def send(self, method, path, body=b"", headers=()):
        """A request with exactly these headers besides the ones that HTTP asks for."""
        host, port = self.front_end.query.rsplit(":", 1)
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self.front_end.query}"]
        lines += [f"Content-Length: {len(body)}", "Connection: close", *headers]
        with socket.create_connection((host, int(port)), timeout=PATIENCE_SECONDS) as stream:
            stream.sendall("\r\n".join([*lines, "", ""]).encode() + body)
            data = b""
            while part := stream.recv(1 << 16):
                data += part
        return Raw(data)

    def talk(self, *parts):
        """All that is answered to the parts, each sent when something was answered to the last."""
        host, port = self.front_end.query.rsplit(":", 1)
        with socket.create_connection((host, int(port)), timeout=PATIENCE_SECONDS) as stream:
            data = b""
            for part in parts:
                stream.sendall(part)
                data += stream.recv(1 << 16)
            while more := stream.recv(1 << 16):
                data += more
        return data

    def head(self, *headers, path="/v2/models/fp32/infer"):
        lines = [f"POST {path} HTTP/1.1", f"Host: {self.front_end.query}", *headers]
        return "\r\n".join([*lines, "", ""]).encode()

    def post(self, model, body, headers=()):
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
        if isinstance(body, str):
            body = body.encode()
        return self.send("POST", f"/v2/models/{model}/infer", body, headers)

    def binary(self, model, header, tail, length=None, headers=()):
        """JSON with binary data behind it."""
        if not isinstance(header, bytes):
            header = json.dumps(header).encode()
        length = len(header) if length is None else length
        return self.post(model, header + tail, [f"{LENGTH}: {length}", *headers])

    def refused(self, answer, status, *needles):
        """The one shape of an error, and its exact status."""
        shown = f"{answer.status} {answer.body}"
        self.assertEqual(answer.status, status, shown)
        self.assertEqual(answer.headers["content-type"], "application/json", shown)
        error = answer.json()["error"]
        self.assertIsInstance(error, str)
        self.assertTrue(error)
        for needle in needles:
            self.assertIn(needle, error)

    def answered(self, answer, expected=None, name="x_out"):
        """A good answer; the data of an output, if that is expected."""
        self.assertEqual(answer.status, 200, answer.body)
        if expected is not None:
            by_name = {output["name"]: output for output in answer.json()["outputs"]}
            self.assertEqual(by_name[name]["data"], expected)
        return answer


def tensor(name="x", shape=(1, 3), datatype="FP32", **more):
    return {"name": name, "shape": list(shape), "datatype": datatype, **more}


def floats(*values, **more):
    return {"inputs": [tensor(data=list(values))], **more}


class TestRoutes(Sockets):
    models = ("fp32",)

    def test_health_is_said_with_a_status_and_in_the_body(self):
        for path, body in [
            ("/v2/health/live", {"live": True}),
            ("/v2/health/ready", {"ready": True}),
            ("/v2/models/fp32/ready", {"name": "fp32", "ready": True}),
            ("/v2/models/fp32/versions/1/ready", {"name": "fp32", "ready": True}),
        ]:
            answer = self.send("GET", path)
            self.assertEqual((answer.status, answer.json()), (200, body), path)

    def test_unknown_paths_are_404_in_the_shape_of_an_error(self):
        for path in ["/v2/nothing", "/v2/models", "/v2/models/fp32/explode", "/v2/health"]:
            answer = self.send("GET", path)
            self.refused(answer, 404)
            self.assertEqual(answer.json()["error"], "Not Found", path)

    def test_other_methods_are_405_in_the_shape_of_an_error(self):
        for method, path, allowed in [
            ("GET", "/v2/models/fp32/infer", "POST"),
            ("PUT", "/v2/models/fp32/infer", "POST"),
            ("POST", "/v2/health/live", "GET"),
            ("DELETE", "/v2/models/fp32", "GET"),
            ("POST", "/v2", "GET"),
            ("GET", "/v2/repository/index", "POST"),
            ("GET", "/v2/systemsharedmemory/unregister", "POST"),
        ]:
            answer = self.send(method, path)
            self.refused(answer, 405)
            self.assertEqual(answer.json()["error"], "Method Not Allowed", path)
            self.assertIn(allowed, answer.headers["allow"])

    def test_unknown_models_and_versions_are_404(self):
        for path in ["nobody", "fp32/versions/7", "fp32/versions/7/config"]:
            self.refused(self.send("GET", f"/v2/models/{path}"), 404)
        self.refused(self.post("nobody", floats(1, 2, 3)), 404, "nobody")
        self.refused(self.post("fp32/versions/7", floats(1, 2, 3)), 404)

    def test_names_are_percent_decoded_once_and_the_query_string_is_ignored(self):
        for name in ["fp32", "%66p32", "%66%70%33%32", "fp32/versions/%31"]:
            self.answered(self.post(name, floats(1, 2, 3)), [1.0, 2.0, 3.0])
        self.refused(self.post("%2566p32", floats(1, 2, 3)), 404)
        answer = self.send("GET", "/v2/models/fp32/ready?a=%zz&b")
        self.assertEqual(answer.status, 200)
        self.refused(self.send("GET", "/v2/models/%ff"), 404)

    def test_server_metadata_names_what_is_there(self):
        told = self.send("GET", "/v2").json()
        self.assertEqual(set(told), {"name", "version", "extensions"})
        for extension in ["binary_tensor_data", "parameters", "statistics"]:
            self.assertIn(extension, told["extensions"])
        self.assertNotIn("system_shared_memory", told["extensions"], "it is off")

    def test_model_metadata_has_the_rows_and_the_configuration_has_not(self):
        told = self.send("GET", "/v2/models/fp32").json()
        self.assertEqual(told["versions"], ["1"])
        self.assertEqual(told["inputs"], [tensor(shape=[-1, 3])])
        self.assertEqual(told["outputs"], [tensor("x_out", shape=[-1, 3])])
        config = self.send("GET", "/v2/models/fp32/versions/1/config").json()
        self.assertEqual(config["max_batch_size"], 1024)
        self.assertEqual(config["input"], [{"name": "x", "data_type": "TYPE_FP32", "dims": [3]}])

    def test_statistics_have_all_eight_members(self):
        self.answered(self.post("fp32", floats(5, 6, 7)))
        [one] = self.send("GET", "/v2/models/fp32/stats").json()["model_stats"]
        self.assertEqual((one["name"], one["version"]), ("fp32", "1"))
        members = "success fail queue compute_input compute_infer compute_output"
        members = {*members.split(), "cache_hit", "cache_miss"}
        self.assertEqual(set(one["inference_stats"]), members)
        for member in one["inference_stats"].values():
            self.assertEqual(set(member), {"count", "ns"})
        self.assertGreaterEqual(one["inference_count"], one["execution_count"])
        self.assertGreaterEqual(one["inference_stats"]["success"]["count"], 1)
        every = self.send("GET", "/v2/models/stats").json()["model_stats"]
        self.assertIn("fp32", [one["name"] for one in every])

    def test_the_index_takes_a_body_or_none(self):
        expected = {"name": "fp32", "version": "1", "state": "READY", "reason": ""}
        for body in [b"", b"{}", b'{"ready":true}']:
            self.assertEqual(self.send("POST", "/v2/repository/index", body).json(), [expected])

    def test_bodies_of_commands_that_are_wrong_are_400(self):
        for body in [b"[]", b"{", b"7"]:
            self.refused(self.send("POST", "/v2/repository/index", body), 400)
        self.refused(self.send("POST", "/v2/repository/models/nobody/load"), 404)


class TestHeaders(Sockets):
    models = ("fp32", "bytes")

    def test_any_content_type_and_none_is_taken(self):
        for kind in [
            [],
            ["Content-Type: application/json"],
            ["Content-Type: application/octet-stream"],
            ["Content-Type: application/x-www-form-urlencoded"],
            ["Content-Type: text/plain; charset=latin-1"],
        ]:
            self.answered(self.post("fp32", floats(1, 2, 3), kind), [1.0, 2.0, 3.0])

    def test_json_answers_say_json_and_have_no_header_length(self):
        answer = self.answered(self.post("fp32", floats(1, 2, 3)))
        self.assertEqual(answer.headers["content-type"], "application/json")
        self.assertNotIn(LENGTH.lower(), answer.headers)

    def test_binary_answers_say_where_the_tensors_begin(self):
        body = floats(1, 2, 3, parameters={"binary_data_output": True})
        answer = self.answered(self.post("fp32", body))
        self.assertEqual(answer.headers["content-type"], "application/octet-stream")
        at = int(answer.headers[LENGTH.lower()])
        self.assertEqual(answer.body[at:], struct.pack("<3f", 1, 2, 3))
        self.assertEqual(int(answer.headers["content-length"]), at + 12)
        [output] = json.loads(answer.body[:at])["outputs"]
        self.assertEqual(output, tensor("x_out", parameters={"binary_data_size": 12}))

    def test_an_output_in_json_has_data_and_no_parameters(self):
        [output] = self.answered(self.post("fp32", floats(1, 2, 3))).json()["outputs"]
        self.assertEqual(output, tensor("x_out", data=[1.0, 2.0, 3.0]))

    def test_one_output_is_binary_by_its_own_word_or_that_of_the_request(self):
        for of_request, own, is_binary in [
            (None, None, False),
            (True, None, True),
            (None, True, True),
            (True, False, False),
            (False, True, True),
        ]:
            body = floats(1, 2, 3, outputs=[{"name": "x_out"}])
            if of_request is not None:
                body["parameters"] = {"binary_data_output": of_request}
            if own is not None:
                body["outputs"][0]["parameters"] = {"binary_data": own}
            answer = self.answered(self.post("fp32", body))
            self.assertEqual(LENGTH.lower() in answer.headers, is_binary, body)

    def test_answers_are_compressed_for_those_who_say_so(self):
        rows = 200
        body = {"inputs": [tensor(shape=(rows, 3), data=[1.5] * 3 * rows)]}
        plain = self.answered(self.post("fp32", body))
        self.assertNotIn("content-encoding", plain.headers)
        for name, decompress in [("gzip", gzip.decompress), ("deflate", zlib.decompress)]:
            answer = self.answered_packed("fp32", body, name)
            told, expected = json.loads(decompress(answer.body)), plain.json()
            self.assertEqual(told["outputs"], expected["outputs"])

    def answered_packed(self, model, body, name):
        answer = self.post(model, body, [f"Accept-Encoding: {name}"])
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.headers["content-encoding"], name)
        return answer

    def test_the_header_length_counts_bytes_before_compression(self):
        rows = 200
        body = {"inputs": [tensor(shape=(rows, 3), data=[1.5] * 3 * rows)],
                "parameters": {"binary_data_output": True}}
        answer = self.answered_packed("fp32", body, "gzip")
        at = int(answer.headers[LENGTH.lower()])
        whole = gzip.decompress(answer.body)
        self.assertEqual(whole[at:], struct.pack("<f", 1.5) * 3 * rows)
        json.loads(whole[:at])


class TestConnections(Sockets):
    models = ("fp32",)

    good = json.dumps(floats(1, 2, 3)).encode()
    close = "Connection: close"

    def test_a_body_may_come_in_chunks(self):
        parts = [self.good[at:at + 7] for at in range(0, len(self.good), 7)]
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
        head = self.head("Transfer-Encoding: chunked", self.close)
        self.answered(Raw(self.talk(head + chunks + b"0\r\n\r\n")), [1.0, 2.0, 3.0])

    def test_who_waits_for_100_is_told_to_continue(self):
        length = f"Content-Length: {len(self.good)}"
        data = self.talk(self.head(length, "Expect: 100-continue", self.close), self.good)
        first, rest = data.split(b"\r\n\r\n", 1)
        self.assertIn(b"100 Continue", first)
        self.answered(Raw(rest), [1.0, 2.0, 3.0])

    def test_a_connection_goes_on_after_errors(self):
        def ask(body, *headers, **more):
            return self.head(f"Content-Length: {len(body)}", *headers, **more) + body

        data = self.talk(ask(b"{"), ask(self.good), ask(self.good, path="/v2/models/none/infer"),
                         ask(self.good, self.close))
        statuses = [int(part[:3]) for part in data.split(b"HTTP/1.1 ")[1:]]
        self.assertEqual(statuses, [400, 200, 404, 200])

    def test_an_http_1_0_client_is_answered(self):
        head = self.head(f"Content-Length: {len(self.good)}").replace(b"HTTP/1.1", b"HTTP/1.0")
        self.answered(Raw(self.talk(head + self.good)), [1.0, 2.0, 3.0])

    def test_two_lengths_of_a_body_are_400(self):
        lengths = [f"Content-Length: {len(self.good)}", "Content-Length: 3"]
        self.assertEqual(Raw(self.talk(self.head(*lengths) + self.good)).status, 400)


class TestBinary(Sockets):
    models = ("fp32", "pair", "bytes", "texts", "vary", "bool")

    header = {"inputs": [tensor(parameters={"binary_data_size": 12})]}
    tail = struct.pack("<3f", 1, 2, 3)

    def test_data_behind_the_json_is_taken_to_the_byte(self):
        self.answered(self.binary("fp32", self.header, self.tail), [1.0, 2.0, 3.0])
        few = self.binary("fp32", self.header, self.tail[:-1])
        self.refused(few, 400, "unexpected size for input")
        many = self.binary("fp32", self.header, self.tail + b"\0")
        self.refused(many, 400, "unexpected additional input data")

    def test_the_announced_bytes_must_be_those_of_the_shape(self):
        for size in [0, 8, 11, 13, 16]:
            header = {"inputs": [tensor(parameters={"binary_data_size": size})]}
            self.refused(self.binary("fp32", header, b"\0" * size), 400, "unexpected size")

    def test_a_header_length_that_cannot_be_is_400(self):
        whole = len(json.dumps(self.header)) + 12
        for length in [whole + 1, 1 << 40, "-1", "1e2", "abc", "", "0x10", "12.0", "+5"]:
            answer = self.binary("fp32", self.header, self.tail, length=length)
            self.refused(answer, 400)

    def test_two_header_lengths_are_400(self):
        for second in [5, len(json.dumps(self.header))]:
            headers = [f"{LENGTH}: {second}"]
            self.refused(self.binary("fp32", self.header, self.tail, headers=headers), 400)

    def test_without_the_header_the_whole_body_is_json(self):
        body = json.dumps(self.header).encode() + self.tail
        self.refused(self.post("fp32", body), 400)

    def test_the_header_may_stand_before_pure_json(self):
        body = json.dumps(floats(1, 2, 3)).encode()
        self.answered(self.post("fp32", body, [f"{LENGTH}: {len(body)}"]), [1.0, 2.0, 3.0])

    def test_binary_and_json_inputs_mix_in_the_order_of_the_inputs(self):
        a = tensor("a", (1, 2), parameters={"binary_data_size": 8})
        b = tensor("b", (1,), "INT32", parameters={"binary_data_size": 4})
        first, second = struct.pack("<2f", 1, 2), struct.pack("<i", 7)
        answer = self.binary("pair", {"inputs": [a, b]}, first + second)
        self.answered(answer, [1.0, 2.0], "a_out")
        self.answered(answer, [7], "b_out")
        answer = self.binary("pair", {"inputs": [b, a]}, second + first)
        self.answered(answer, [1.0, 2.0], "a_out")
        json_b = tensor("b", (1,), "INT32", data=[-7])
        answer = self.binary("pair", {"inputs": [json_b, a]}, first)
        self.answered(answer, [-7], "b_out")

    def test_an_input_has_exactly_one_source_of_data(self):
        both = tensor(data=[1, 2, 3], parameters={"binary_data_size": 12})
        self.refused(self.binary("fp32", {"inputs": [both]}, self.tail), 400)
        self.refused(self.post("fp32", {"inputs": [tensor()]}), 400)
        region = {"shared_memory_region": "r", "shared_memory_byte_size": 12}
        shared = tensor(data=[1, 2, 3], parameters=region)
        self.refused(self.post("fp32", {"inputs": [shared]}), 400)
        outputs = [{"name": "x_out", "parameters": {**region, "binary_data": True}}]
        self.refused(self.post("fp32", floats(1, 2, 3, outputs=outputs)), 400)

    def test_a_raw_request_is_the_tensor_alone_and_answered_in_binary(self):
        answer = self.answered(self.post("fp32", self.tail, [f"{LENGTH}: 0"]))
        at = int(answer.headers[LENGTH.lower()])
        self.assertEqual(answer.body[at:], self.tail)
        self.assertEqual(json.loads(answer.body[:at])["outputs"][0]["shape"], [1, 3])
        vary = self.answered(self.post("vary", struct.pack("<6f", *range(6)), [f"{LENGTH}: 0"]))
        at = int(vary.headers[LENGTH.lower()])
        self.assertEqual(json.loads(vary.body[:at])["outputs"][0]["shape"], [1, 3, 2])

    def test_a_raw_request_that_does_not_fit_is_400(self):
        for model, body in [("fp32", self.tail[:-1]), ("fp32", b""), ("pair", b"\0" * 12),
                            ("texts", b"ab"), ("vary", b"\0" * 12)]:
            self.refused(self.post(model, body, [f"{LENGTH}: 0"]), 400)

    def test_byte_strings_carry_their_lengths(self):
        def body(shape, size):
            one = tensor(shape=shape, datatype="BYTES", parameters={"binary_data_size": size})
            return {"inputs": [one], "parameters": {"binary_data_output": True}}

        strings = [b"", b"\xff\x00", b"abc"]
        tail = b"".join(struct.pack("<I", len(one)) + one for one in strings)
        answer = self.answered(self.binary("bytes", body([1, 3], len(tail)), tail))
        at = int(answer.headers[LENGTH.lower()])
        self.assertEqual(answer.body[at:], tail)
        for wrong in [tail[:-1], tail + b"\0", struct.pack("<I", 1 << 31) + tail[4:], b"\0\0\0"]:
            answer = self.binary("bytes", body([1, 3], len(wrong)), wrong)
            self.refused(answer, 400, "unexpected size")

    def test_an_empty_tensor_is_legal_and_its_answer_is_json(self):
        one = tensor("v", (1, 0, 2), parameters={"binary_data_size": 0})
        body = {"inputs": [one], "parameters": {"binary_data_output": True}}
        answer = self.answered(self.binary("vary", body, b""))
        self.assertEqual(answer.headers["content-type"], "application/json")
        self.assertNotIn(LENGTH.lower(), answer.headers)
        [output] = answer.json()["outputs"]
        self.assertEqual(output["parameters"], {"binary_data_size": 0})
        self.assertEqual(output["shape"], [1, 0, 2])

    def test_booleans_are_bytes_of_0_or_1(self):
        one = tensor(datatype="BOOL", parameters={"binary_data_size": 3})
        answer = self.binary("bool", {"inputs": [one]}, b"\1\0\1")
        self.answered(answer, [True, False, True])
        self.refused(self.binary("bool", {"inputs": [one]}, b"\2\0\1"), 400)


class TestCompression(Sockets):
    models = ("fp32",)
    flags = ("--body-bytes-max", "100000", "--binary-bytes-max", "200000")

    packers = (("gzip", gzip.compress), ("deflate", zlib.compress))

    def test_the_whole_body_is_decompressed_first(self):
        text = json.dumps(floats(1, 2, 3)).encode()
        for name, pack in self.packers:
            headers = [f"Content-Encoding: {name}"]
            self.answered(self.post("fp32", pack(text), headers), [1.0, 2.0, 3.0])
            header = json.dumps(TestBinary.header).encode()
            headers.append(f"{LENGTH}: {len(header)}")
            body = pack(header + TestBinary.tail)
            self.answered(self.post("fp32", body, headers), [1.0, 2.0, 3.0])

    def test_a_bomb_is_413_and_the_front_end_goes_on(self):
        bomb = b" " * 50_000_000
        for name, pack in self.packers:
            answer = self.post("fp32", pack(bomb), [f"Content-Encoding: {name}"])
            self.refused(answer, 413)
        self.answered(self.post("fp32", floats(1, 2, 3)), [1.0, 2.0, 3.0])

    def test_what_is_not_what_it_says_is_400(self):
        text = json.dumps(floats(1, 2, 3)).encode()
        for name, pack in self.packers:
            for body in [text, pack(text)[:-6], b""]:
                self.refused(self.post("fp32", body, [f"Content-Encoding: {name}"]), 400)
        twice = gzip.compress(gzip.compress(text))
        self.refused(self.post("fp32", twice, ["Content-Encoding: gzip"]), 400)

    def test_unknown_encodings_are_501_and_told_which_are_known(self):
        for name in ["br", "zstd", "gzip, deflate"]:
            answer = self.post("fp32", b"{}", [f"Content-Encoding: {name}"])
            self.refused(answer, 501)
            self.assertEqual(answer.headers["accept-encoding"], "gzip, deflate")

    def test_bodies_over_the_limit_are_413(self):
        self.refused(self.post("fp32", b" " * 100_001), 413)
        self.refused(self.post("fp32", b" " * 200_001, [f"{LENGTH}: 5"]), 413)
        text = json.dumps(floats(1, 2, 3)).encode()
        self.answered(self.post("fp32", text + b" " * (100_000 - len(text))), [1.0, 2.0, 3.0])


class TestJson(Sockets):
    models = ("fp32", "pair", "halves", "texts", "vary",
              *(name.lower() for name in SHORT if name != "FP32"))

    def test_an_id_comes_back_unless_it_is_empty(self):
        answer = self.answered(self.post("fp32", floats(1, 2, 3, id="a \"b\" é")))
        self.assertEqual(answer.json()["id"], "a \"b\" é")
        for body in [floats(1, 2, 3), floats(1, 2, 3, id="")]:
            # Both of the same id, and neither keeps the other from being answered.
            told = self.answered(self.post("fp32", body), [1.0, 2.0, 3.0]).json()
            self.assertFalse(told.get("id"))

    def test_an_error_names_the_request(self):
        answer = self.post("fp32", floats(1, 2, 3, id="17", outputs=[{"name": "none"}]))
        self.refused(answer, 400, "none")
        self.assertEqual(answer.json()["request_id"], "17")

    def test_unknown_members_are_ignored_wherever_they_stand(self):
        body = floats(1, 2, 3, model_name="other", future={"a": [1, {"b": None}]})
        body["inputs"][0]["future"] = [1]
        body["outputs"] = [{"name": "x_out", "future": True}]
        body["parameters"] = {"future": "yes", "other": 1.5, "third": False}
        self.answered(self.post("fp32", body), [1.0, 2.0, 3.0])

    def test_the_answer_names_model_and_version(self):
        told = self.answered(self.post("fp32", floats(1, 2, 3))).json()
        self.assertEqual((told["model_name"], told["model_version"]), ("fp32", "1"))

    def test_duplicates_are_400(self):
        good = json.dumps(floats(1, 2, 3))[1:-1]
        for body in [
            "{%s,%s}" % (good, good),
            '{"id":"a","id":"b",%s}' % good,
            '{%s,"parameters":{},"parameters":{}}' % good,
            good.join(["{", "}"]).replace('"name"', '"name":"x","name"'),
            {"inputs": floats(1, 2, 3)["inputs"] * 2},
            floats(1, 2, 3, outputs=[{"name": "x_out"}] * 2),
            '{%s,"parameters":{"timeout":1000000,"timeout":1000000}}' % good,
        ]:
            self.refused(self.post("fp32", body), 400)

    def test_numbers_that_are_none_are_400(self):
        for number in ["NaN", "Infinity", "-Infinity", "1e999", "1e300", "nan", "01", "1.", ".5",
                       "+1", "0x1", "1e", "null", '"1"', "true"]:
            body = json.dumps(floats(1, 2, 7)).replace("7", number)
            self.refused(self.post("fp32", body), 400)

    def test_numbers_are_read_exactly(self):
        values = ["0.1", "1e-45", "3.4028234e38", "-0.0", "1E2", "16777217"]
        for at in range(0, 6, 3):
            text = ",".join(values[at:at + 3])
            body = json.dumps(floats(0)).replace("[0]", f"[{text}]")
            expected = [struct.unpack("<f", struct.pack("<f", float(one)))[0]
                        for one in values[at:at + 3]]
            told = self.answered(self.post("fp32", body)).json()["outputs"][0]["data"]
            packed = [struct.pack("<f", one) for one in told]
            self.assertEqual(packed, [struct.pack("<f", one) for one in expected])

    def test_what_is_no_json_is_400(self):
        good = json.dumps(floats(1, 2, 3))
        for body in ["", "{", "null", "[]", "7", good + "x", good[:-1], good.replace(",", ",,", 1),
                     good.replace("[1,", "[1"), "\ufeff" + good, good.replace("}]", "},]")]:
            self.refused(self.post("fp32", body), 400)
        self.refused(self.post("fp32", b'{"\xff": 1, ' + good[1:].encode()), 400)

    def test_depth_is_bounded(self):
        for deep in ["[" * 100_000, "[" * 40 + "1,2,3" + "]" * 40]:
            body = json.dumps(floats(7)).replace("[7]", deep)
            self.refused(self.post("fp32", body), 400)
        body = '{"future":' + '{"a":' * 1000 + "1" + "}" * 1000 + "," + json.dumps(floats(1, 2, 3))[1:]
        self.refused(self.post("fp32", body), 400)

    def test_data_is_nested_or_flat(self):
        for data in [[1, 2, 3, 4, 5, 6], [[1, 2, 3], [4, 5, 6]]]:
            body = {"inputs": [tensor(shape=(2, 3), data=data)]}
            answer = self.answered(self.post("fp32", body), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
            self.assertEqual(answer.json()["outputs"][0]["shape"], [2, 3])

    def test_elements_that_are_too_few_or_too_many_are_400(self):
        for data in [[], [1, 2], [1, 2, 3, 4], [[1, 2, 3], [4, 5, 6]]]:
            self.refused(self.post("fp32", {"inputs": [tensor(data=data)]}), 400)

    def test_shapes_that_cannot_be_are_400(self):
        for shape in [[-1, 3], [1, -3], [0, 3], [3], [1, 3, 1], [], [1, 4], [1.0, 3], ["1", 3],
                      [1 << 62, 3], [1 << 32, 1 << 32], [1 << 64, 3], [9223372036854775807, 3],
                      [4294967296, 3], [1] * 40]:
            self.refused(self.post("fp32", {"inputs": [tensor(shape=shape, data=[1, 2, 3])]}), 400)
        for shape in [[1, 1 << 63, 0], [1, 0, 1 << 32], [1 << 63, 0, 2], [0, 0, 2]]:
            one = tensor("v", shape, parameters={"binary_data_size": 0})
            self.refused(self.binary("vary", {"inputs": [one]}, b""), 400)

    def test_wrong_datatypes_and_names_are_400(self):
        for datatype in ["FP64", "INT32", "fp32", "f32", "STRING", "", "FLOAT"]:
            body = {"inputs": [tensor(datatype=datatype, data=[1, 2, 3])]}
            self.refused(self.post("fp32", body), 400)
        self.refused(self.post("fp32", {"inputs": [tensor("y", data=[1, 2, 3])]}), 400, "x")
        self.refused(self.post("fp32", {"inputs": []}), 400)
        self.refused(self.post("fp32", {}), 400)
        extra = floats(1, 2, 3)["inputs"] + [tensor("more", data=[1, 2, 3])]
        self.refused(self.post("fp32", {"inputs": extra}), 400, "more")

    def test_outputs_are_those_that_are_named_in_that_order(self):
        inputs = [tensor("a", (1, 2), data=[1, 2]), tensor("b", (1,), "INT32", data=[3])]
        names = lambda body: [one["name"] for one in self.answered(body).json()["outputs"]]
        self.assertEqual(names(self.post("pair", {"inputs": inputs})), ["a_out", "b_out"])
        for wanted in [["b_out"], ["b_out", "a_out"]]:
            outputs = [{"name": name} for name in wanted]
            body = {"inputs": inputs, "outputs": outputs}
            self.assertEqual(names(self.post("pair", body)), wanted)
        body = {"inputs": inputs, "outputs": [{"name": "a"}]}
        self.refused(self.post("pair", body), 400, "unexpected output 'a'")

    def test_a_scalar_a_row_comes_with_one_dimension_or_two(self):
        for shape in [[2], [2, 1]]:
            inputs = [tensor("a", (2, 2), data=[1, 2, 3, 4]),
                      tensor("b", shape, "INT32", data=[5, 6])]
            self.answered(self.post("pair", {"inputs": inputs}), [5, 6], "b_out")

    def test_inputs_of_different_rows_are_400(self):
        inputs = [tensor("a", (2, 2), data=[1, 2, 3, 4]), tensor("b", (1,), "INT32", data=[5])]
        self.refused(self.post("pair", {"inputs": inputs}), 400)

    def test_half_precision_has_no_json_form(self):
        half = lambda name, datatype, **more: tensor(name, (1, 2), datatype, **more)
        inputs = [half("h", "FP16", data=[1, 2]), half("b", "BF16", data=[1, 2])]
        self.refused(self.post("halves", {"inputs": inputs}), 400)
        size = {"binary_data_size": 4}
        inputs = [half("h", "FP16", parameters=size), half("b", "BF16", parameters=size)]
        self.refused(self.binary("halves", {"inputs": inputs}, b"\0" * 8), 400, "no JSON form")
        tail = struct.pack("<2e", 1.5, -2) + b"\x80\x3f\x00\xc0"
        body = {"inputs": inputs, "parameters": {"binary_data_output": True}}
        answer = self.answered(self.binary("halves", body, tail))
        self.assertEqual(answer.body[int(answer.headers[LENGTH.lower()]):], tail)

    def test_every_datatype_with_a_json_form_goes_through_it_unharmed(self):
        edges = {
            "BOOL": [True, False, True],
            "FP32": [1.5, -2.25, 0.0],
            "FP64": [0.1, -1e300, 5e-324],
            "BYTES": ["", "é\n\"", "a\u0000b"],
        }
        for name in SHORT:
            bits = int("".join(filter(str.isdigit, name)) or 0)
            if name.startswith("UINT"):
                edges[name] = [0, 1, 2**bits - 1]
            elif name.startswith("INT"):
                edges[name] = [-2 ** (bits - 1), -1, 2 ** (bits - 1) - 1]
        for name, values in edges.items():
            with self.subTest(name):
                body = {"inputs": [tensor(datatype=name, data=values)]}
                answer = self.answered(self.post(name.lower(), body), values)
                [output] = answer.json()["outputs"]
                self.assertEqual(output["datatype"], name)
                again = self.post(name.lower(), body).json()["outputs"]
                self.assertEqual(again, [output], "from the cache it is the same")

    def test_elements_beyond_their_datatype_are_400(self):
        for name, wrong in [
            ("UINT8", 256), ("UINT8", -1), ("INT8", 128), ("INT16", -32769), ("UINT32", 1 << 32),
            ("INT64", 1 << 63), ("UINT64", 1 << 64), ("UINT64", -1), ("INT32", 1.5), ("BOOL", 2),
            ("INT32", "1"), ("INT32", True), ("BYTES", 7), ("BOOL", "true"), ("FP64", "1"),
            ("BYTES", None),
        ]:
            data = [wrong] * 3
            body = {"inputs": [tensor(datatype=name, data=data)]}
            with self.subTest(name, wrong=wrong):
                self.refused(self.post(name.lower(), body), 400)
        body = json.dumps({"inputs": [tensor(datatype="FP64", data=[7, 7, 7])]})
        self.refused(self.post("fp64", body.replace("7,", "1e999,")), 400)

    def test_text_in_json_is_utf8_and_bytes_that_are_none_want_binary(self):
        def inputs(text, raw):
            size = {"binary_data_size": 4 + len(raw)}
            return {"inputs": [tensor("t", (1, len(text)), "BYTES", data=text),
                               tensor("b", (1,), "BYTES", parameters=size)]}

        tail = lambda raw: struct.pack("<I", len(raw)) + raw
        answer = self.binary("texts", inputs(["é", "𝄞"], b"ok"), tail(b"ok"))
        self.answered(answer, ["é", "𝄞"], "t_out")
        self.answered(answer, ["ok"], "b_out")
        answer = self.binary("texts", inputs(["a"], b"\xff"), tail(b"\xff"))
        self.refused(answer, 400, "binary")

    def test_not_a_number_passes_in_binary_and_is_an_error_in_json(self):
        nan = struct.pack("<3f", float("nan"), float("inf"), 1)
        answer = self.binary("fp32", {**TestBinary.header,
                                      "parameters": {"binary_data_output": True}}, nan)
        self.answered(answer)
        self.assertEqual(answer.body[int(answer.headers[LENGTH.lower()]):], nan)
        self.refused(self.binary("fp32", TestBinary.header, nan), 500, "finite")

    def test_rows_of_different_shapes_are_sent_one_by_one(self):
        for rows in [1, 2, 5]:
            one = tensor("v", (1, rows, 2), data=list(range(2 * rows)))
            answer = self.answered(self.post("vary", {"inputs": [one]}))
            self.assertEqual(answer.json()["outputs"][0]["shape"], [1, rows, 2])

    def test_rows_are_bounded(self):
        body = lambda rows: {"inputs": [tensor(shape=(rows, 3), data=[1] * 3 * rows)]}
        self.answered(self.post("fp32", body(1024)))
        self.refused(self.post("fp32", body(1025)), 400, "1024")

    def test_parameters_that_cannot_be_are_400(self):
        for parameters in [
            {"triton_x": 1}, {"triton_enable_empty_final_response": True}, {"timeout": -1},
            {"timeout": "soon"}, {"timeout": 1.5}, {"priority": -1}, {"priority": "high"},
            {"binary_data_output": 1}, {"skysail_cache": "no"}, [], 7,
        ]:
            with self.subTest(parameters=parameters):
                answer = self.post("fp32", floats(1, 2, 3, parameters=parameters))
                self.refused(answer, 400)

    def test_what_is_not_offered_says_so(self):
        for parameters in [{"sequence_id": 5, "sequence_start": True}, {"sequence_end": True}]:
            self.refused(self.post("fp32", floats(1, 2, 3, parameters=parameters)), 501)
        outputs = [{"name": "x_out", "parameters": {"classification": 2}}]
        self.refused(self.post("fp32", floats(1, 2, 3, outputs=outputs)), 501)


if __name__ == "__main__":
    unittest.main()
