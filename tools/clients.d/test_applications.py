"""Applications under their names, with their objective and their default; models without."""

import json
import struct
import unittest

import numpy as np
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

from served import SLOW_SECONDS, Served

#: What `slow` cannot keep.
TIGHT_MICROS = int(SLOW_SECONDS * 100_000)


def body(*values, datatype="FP32", **more):
    tensor = {"name": "x", "shape": [1, len(values)], "datatype": datatype, "data": list(values)}
    return {"inputs": [tensor], **more}


def one(value, **more):
    """For `slow`, which takes a number a row."""
    tensor = {"name": "x", "shape": [1], "datatype": "FP32", "data": [value]}
    return {"inputs": [tensor], **more}


class TestApplications(Served):
    models = ("fp32", "slow", "absent")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        add = cls.front_end.add_application
        add("floats", "fp32")
        add("waiting", "absent", default="none yet")
        add("tight", "slow", TIGHT_MICROS, default="-1")
        add("tight-text", "slow", TIGHT_MICROS, default="too late")
        add("tight-by-name", "slow", TIGHT_MICROS, default='{"x_out":2.5}')
        cls.front_end.manage("POST", "applications", {
            "name": "unlinked", "input_type": "floats",
            "latency_slo_micros": 100000, "default_output": "0"})

    def answered(self, application, asked, headers=None):
        answer = self.infer(application, asked, headers)
        self.assertEqual(answer.status, 200, answer.body)
        return answer

    def explained(self, asked):
        parameters = self.answered("floats", asked).json()["parameters"]
        return json.loads(parameters["skysail_explain"])

    def test_an_application_answers_under_its_name(self):
        told = self.answered("floats", body(1, 2, 3)).json()
        self.assertEqual((told["model_name"], told["model_version"]), ("floats", "1"))
        self.assertEqual(told["parameters"]["skysail_model"], "fp32")
        self.assertNotIn("skysail_default", told["parameters"])
        self.assertEqual(told["outputs"][0]["data"], [1.0, 2.0, 3.0])
        metadata = self.front_end.ask("GET", "/v2/models/floats").json()
        self.assertEqual((metadata["name"], metadata["inputs"][0]["shape"]), ("floats", [-1, 3]))

    def test_without_a_replica_the_default_is_the_answer_and_says_why(self):
        for application, text in [("waiting", "none yet"), ("unlinked", "0")]:
            told = self.answered(application, body(1, 2, 3, id="5")).json()
            self.assertEqual((told["model_name"], told["id"]), (application, "5"))
            parameters = told["parameters"]
            self.assertTrue(parameters["skysail_default"])
            self.assertEqual(parameters["skysail_cause"], "no_replica")
            expected = {"name": "default_output", "shape": [1], "datatype": "BYTES", "data": [text]}
            self.assertEqual(told["outputs"], [expected])

    def test_a_default_comes_in_binary_where_that_is_asked_for(self):
        asked = body(1, 2, 3, parameters={"binary_data_output": True})
        answer = self.answered("waiting", asked)
        at = int(answer.headers["Inference-Header-Content-Length"])
        self.assertEqual(answer.body[at:], struct.pack("<I", 8) + b"none yet")

    def test_clients_read_a_default_as_any_answer(self):
        for module in [tritonclient.http, tritonclient.grpc]:
            client = module.InferenceServerClient(self.front_end.query)
            self.addCleanup(client.close)
            tensor = module.InferInput("x", [1, 3], "FP32")
            tensor.set_data_from_numpy(np.array([[1, 2, 3]], np.float32))
            result = client.infer("waiting", [tensor])
            self.assertEqual(result.as_numpy("default_output").tolist(), [b"none yet"])

    def test_an_objective_that_the_model_cannot_keep_gives_the_default(self):
        for application, output in [
            ("tight", {"name": "x_out", "shape": [1], "datatype": "FP32", "data": [-1.0]}),
            ("tight-by-name",
             {"name": "x_out", "shape": [1], "datatype": "FP32", "data": [2.5]}),
            # What is no row of the model comes as the text that it is.
            ("tight-text", {"name": "default_output", "shape": [1], "datatype": "BYTES",
                            "data": ["too late"]}),
        ]:
            told = self.answered(application, one(1)).json()
            self.assertEqual(told["outputs"], [output])
            self.assertTrue(told["parameters"]["skysail_default"])
            self.assertIn(told["parameters"]["skysail_cause"], ["expired_model", "expired_queue"])

    def test_a_default_is_never_cached(self):
        self.infer("tight", one(50))
        told = self.infer("slow", one(50)).json()
        self.assertEqual(told["outputs"][0]["data"], [50.0])

    def test_a_request_may_be_in_more_of_a_hurry_than_its_application(self):
        explain = {"skysail_explain": True}
        told = self.explained(body(1, 2, 4, parameters=explain))
        self.assertEqual(told["limit_micros"], told["slo_micros"])
        told = self.explained(body(1, 2, 4, parameters={**explain, "timeout": 5_000_000}))
        self.assertEqual((told["limit_micros"], told["slo_micros"]), (5_000_000, 10_000_000))
        told = self.explained(body(1, 2, 4, parameters={**explain, "timeout": 1 << 60}))
        self.assertEqual(told["limit_micros"], 10_000_000, "and never in less")

    def test_an_explanation_tells_how_the_answer_came_about(self):
        asked = {"skysail_explain": True, "skysail_uid": "u7", "skysail_cache": False}
        told = self.explained(body(1, 2, 5, parameters=asked))
        expected = {"application": "floats", "model": "fp32", "version": "1", "rows": 1,
                    "cached_rows": 0, "default_rows": 0, "cause": None, "uid": "u7"}
        self.assertLessEqual(expected.items(), told.items())

    def test_the_cache_answers_again_unless_it_is_told_not_to(self):
        cached = lambda **parameters: self.answered(
            "floats", body(4, 5, 6, parameters=parameters)).json()["parameters"].get("skysail_cached")
        self.assertFalse(cached())
        self.assertTrue(cached())
        self.assertFalse(cached(skysail_cache=False))
        self.assertTrue(cached())
        told = self.answered("floats", body(4, 5, 6)).json()
        self.assertEqual(told["outputs"][0]["data"], [4.0, 5.0, 6.0])

    def test_a_model_asked_directly_has_errors_where_there_is_no_prediction(self):
        answer = self.infer("absent", body(1, 2, 3))
        self.check_error(answer, 503)
        self.assertEqual(answer.json()["code"], "no_replica")
        self.assertTrue(answer.headers["Retry-After"])
        answer = self.infer("slow", one(1, parameters={"timeout": TIGHT_MICROS}))
        self.check_error(answer, 504)
        self.assertIn(answer.json()["code"], ["expired_model", "expired_queue"])
        self.check_error(self.infer("nobody", body(1, 2, 3)), 404, "nobody")
        self.check_error(self.infer("slow/versions/2", one(1)), 404)

    def test_errors_over_grpc_are_the_same_ones(self):
        client = tritonclient.grpc.InferenceServerClient(self.front_end.query)
        self.addCleanup(client.close)
        tensor = tritonclient.grpc.InferInput("x", [1, 3], "FP32")
        tensor.set_data_from_numpy(np.array([[1, 2, 3]], np.float32))
        for model, code in [("absent", "UNAVAILABLE"), ("nobody", "NOT_FOUND")]:
            with self.assertRaises(InferenceServerException) as raised:
                client.infer(model, [tensor])
            self.assertEqual(raised.exception.status(), f"StatusCode.{code}")

    def test_applications_stand_in_the_index_beside_models(self):
        index = self.front_end.ask("POST", "/v2/repository/index").json()
        states = {one["name"]: one["state"] for one in index}
        self.assertEqual(states["floats"], "READY")
        self.assertEqual(states["waiting"], "UNAVAILABLE")
        self.assertEqual(states["unlinked"], "UNAVAILABLE")

    def test_an_application_is_ready_when_its_model_is(self):
        for name, status in [("floats", 200), ("waiting", 503), ("unlinked", 503)]:
            answer = self.front_end.ask("GET", f"/v2/models/{name}/ready")
            self.assertEqual(answer.status, status, answer.body)

    def test_clippers_route_says_where_tensors_are_taken(self):
        answer = self.front_end.ask("POST", "/floats/predict", {"input": [1, 2, 3]})
        self.assertEqual(answer.status, 400)
        self.assertIn("/v2/models/{app}/infer", answer.json()["cause"])


if __name__ == "__main__":
    unittest.main()
