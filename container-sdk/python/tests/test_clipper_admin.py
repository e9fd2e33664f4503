"""An unmodified clipper_admin 0.4.1 drives a real skysail; see the script ``clipper``."""

import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
import unittest
from importlib import metadata

import skysail_clipper
from clipper_admin import ClipperConnection, ClipperException, UnconnectedException
from clipper_admin.container_manager import ContainerManager
from skysail_clipper import SkysailContainerManager

SKYSAIL = os.environ["SKYSAIL"]
LINEAR = f"{SKYSAIL} example-container digits-linear"
MLP = f"{SKYSAIL} example-container digits-mlp"
#: Long enough for any machine; what takes longer has failed.
PATIENCE_SECONDS = 60
IMAGE = [0.0] * 64


def until(what, is_so):
    """Polls until it is so."""
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        found = is_so()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"gave up waiting: {what}")
        time.sleep(0.02)


def post(address, path, body):
    """Status and text of a request, as a client without any library of ours makes it."""
    connection = http.client.HTTPConnection(address, timeout=PATIENCE_SECONDS)
    try:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


class Cluster(unittest.TestCase):
    """A front end of its own for each test, on free ports."""

    def setUp(self):
        self.manager = SkysailContainerManager(
            cluster_name="test",
            executable=SKYSAIL,
            query_port=0,
            management_port=0,
            rpc_port=0,
            commands={"linear": [SKYSAIL, "example-container", "digits-linear"]},
            ready_seconds_max=PATIENCE_SECONDS,
        )
        self.addCleanup(self.manager.stop_all)
        self.clipper = ClipperConnection(self.manager)
        self.clipper.start_clipper()

    def predict(self, app="digits"):
        status, text = post(self.clipper.get_query_addr(), f"/{app}/predict", {"input": IMAGE})
        self.assertEqual(status, 200, text)
        return json.loads(text)

    def answered_by(self, version):
        """Waits until this version of the model answers."""

        def answer():
            found = self.predict()
            return not found["default"] and found["models"][0]["version"] == version and found

        return until(f"version {version} to answer", answer)

    def deploy(self, version="1", image=LINEAR, **more):
        self.clipper.deploy_model("linear", version, "floats", image, **more)

    def application(self):
        self.clipper.register_application("digits", "floats", "-1.0", 500000)

    def serve(self):
        """An application with a model that answers."""
        self.application()
        self.deploy()
        self.clipper.link_model_to_app("digits", "linear")
        self.answered_by("1")


class TestPackage(unittest.TestCase):
    def test_the_package_is_the_published_one_and_the_manager_its_subclass(self):
        self.assertEqual(metadata.version("clipper_admin"), "0.4.1")
        self.assertTrue(issubclass(SkysailContainerManager, ContainerManager))

    def test_the_manager_works_without_the_package(self):
        code = (
            "from skysail_clipper import *\n"
            "try: SkysailContainerManager(data_dir='/absent').connect()\n"
            "except ClipperException as error: print(error.msg)"
        )
        folder = os.path.dirname(skysail_clipper.__file__)
        ran = subprocess.run(
            [sys.executable, "-B", "-c", code],
            env={"PYTHONPATH": folder},
            stdout=subprocess.PIPE,
            check=True,
        )
        self.assertIn("no running Skysail was found (/absent)", ran.stdout.decode())


class TestApplications(Cluster):
    def test_applications_are_registered_listed_and_unregistered(self):
        self.application()
        shown = {
            "name": "digits",
            "input_type": "floats",
            "default_output": "-1.0",
            "latency_slo_micros": 500000,
            "linked_models": [],
        }
        self.assertEqual(self.clipper.get_all_apps(), ["digits"])
        self.assertEqual(self.clipper.get_all_apps(verbose=True), [shown])
        self.assertEqual(self.clipper.get_app_info("digits"), shown)
        self.assertIsNone(self.clipper.get_app_info("other"))
        with self.assertRaisesRegex(ClipperException, "application 'digits' already exists"):
            self.application()
        self.clipper.delete_application("digits")
        self.assertEqual(self.clipper.get_all_apps(), [])
        with self.assertRaisesRegex(ClipperException, "Application 'digits' does not exist"):
            self.clipper.unregister_application("digits")

    def test_an_application_without_a_model_answers_its_default_with_the_cause(self):
        self.application()
        answer = self.predict()
        self.assertEqual((answer["default"], answer["output"]), (True, -1.0))
        self.assertEqual(answer["default_explanation"], "No connected models found for query")

    def test_an_unknown_input_type_is_refused_at_once(self):
        with self.assertRaisesRegex(ClipperException, "'vectors' is not an input type"):
            self.clipper.register_application("digits", "vectors", "-1", 100000)

    def test_feedback_is_received(self):
        self.application()
        body = {"uid": 3, "input": IMAGE, "label": 1}
        received = post(self.clipper.get_query_addr(), "/digits/update", body)
        self.assertEqual(received, (200, "Feedback received? 0"))


class TestModels(Cluster):
    def test_a_deployed_model_answers_once_it_is_linked(self):
        self.serve()
        self.assertEqual(self.clipper.get_linked_models("digits"), ["linear"])
        self.assertIn(self.predict()["output"], range(10))
        info = self.clipper.get_model_info("linear", "1")
        self.assertEqual(info["container_name"], LINEAR)
        self.assertEqual((info["labels"], info["batch_size"]), ([], -1))
        self.assertIsNone(self.clipper.get_model_info("linear", "2"))
        with self.assertRaisesRegex(ClipperException, "already linked to 'digits'"):
            self.clipper.link_model_to_app("digits", "linear")
        self.clipper.unlink_model_from_app("digits", "linear")
        self.assertEqual(self.clipper.get_linked_models("digits"), [])
        self.assertTrue(self.predict()["default"])

    def test_versions_are_rolled_forward_and_back(self):
        self.serve()
        self.deploy("2", MLP)
        self.assertEqual(self.clipper.get_current_model_version("linear"), "2")
        self.answered_by("2")
        self.clipper.set_model_version("linear", "1")
        self.assertEqual(self.clipper.get_current_model_version("linear"), "1")
        self.answered_by("1")
        self.clipper.set_model_version("linear", 2, num_replicas=2)
        self.answered_by("2")
        self.assertEqual(self.clipper.get_num_replicas("linear"), 2)
        self.assertEqual(sorted(self.clipper.get_all_models()), ["linear:1", "linear:2"])
        models = self.clipper.get_all_models(verbose=True)
        current = {model["model_version"]: model["is_current_version"] for model in models}
        self.assertEqual(current, {"1": False, "2": True})
        with self.assertRaisesRegex(ClipperException, "Cannot set non-existent version '3'"):
            self.clipper.set_model_version("linear", "3")

    def test_replicas_are_added_and_removed(self):
        self.serve()
        for count in (3, 1, 0, 2):
            self.clipper.set_num_replicas("linear", count)
            self.assertEqual(self.clipper.get_num_replicas("linear"), count)
            listed = self.clipper.get_all_model_replicas(verbose=True)
            self.assertEqual([one["model_id"] for one in listed], ["linear:1"] * count)
        replica = listed[0]["model_replica_id"]
        names = self.clipper.get_all_model_replicas()
        self.assertIn(f"linear:1:{replica}", names)
        info = self.clipper.get_model_replica_info("linear", "1", replica)
        self.assertEqual((info["model_name"], info["input_type"]), ("linear", "floats"))
        self.assertIsNone(self.clipper.get_model_replica_info("linear", "1", 1 << 20))

    def test_a_version_is_deployed_with_replicas_labels_and_a_batch_size(self):
        self.deploy(labels=["a", "b"], num_replicas=2, batch_size=8)
        info = self.clipper.get_model_info("linear", "1")
        self.assertEqual((info["labels"], info["batch_size"]), (["a", "b"], 8))
        self.assertEqual(self.clipper.get_num_replicas("linear", "1"), 2)
        until("both replicas", lambda: len(self.clipper.get_all_model_replicas()) == 2)

    def test_an_image_may_be_the_name_of_a_command(self):
        self.application()
        self.deploy(image="linear")
        self.clipper.link_model_to_app("digits", "linear")
        self.answered_by("1")

    def test_stopping_models_twice_succeeds(self):
        self.serve()
        self.deploy("2", MLP)
        for _ in range(2):
            self.clipper.stop_models(["linear"])
            self.assertEqual(self.clipper.get_all_models(), [])
            self.assertEqual(self.clipper.get_all_model_replicas(), [])
        self.deploy("1", MLP)
        self.assertEqual(self.answered_by("1")["default"], False)

    def test_only_what_is_inactive_or_named_is_stopped(self):
        self.serve()
        for version in ("2", "3"):
            self.deploy(version)
        self.clipper.set_model_version("linear", "2")
        self.answered_by("2")
        self.clipper.stop_inactive_model_versions(["linear"])
        self.assertEqual(self.clipper.get_all_models(), ["linear:2"])
        self.clipper.stop_versioned_models({"linear": ["2"]})
        self.assertEqual(self.clipper.get_all_models(), [])
        with self.assertRaisesRegex(ClipperException, "does not exist"):
            self.clipper.stop_versioned_models({"linear": ["2"]})

    def test_all_containers_are_stopped_and_the_front_end_keeps_running(self):
        self.serve()
        self.clipper.deploy_model("other", "1", "floats", MLP)
        self.clipper.stop_all_model_containers()
        self.assertEqual(self.clipper.get_all_models(), [])
        self.assertTrue(self.predict()["default"])

    def test_a_model_may_run_elsewhere(self):
        self.clipper.register_model("linear", "1", "floats")
        self.assertEqual(self.clipper.get_num_replicas("linear", "1"), 0)
        with self.assertRaisesRegex(ClipperException, "containerless model"):
            self.clipper.set_num_replicas("linear", 1)

    def test_what_cannot_be_deployed_is_told(self):
        self.deploy()
        for image, version, says in [
            ("no-such-program", "2", "program 'no-such-program' was not found"),
            ("'unfinished", "2", "cannot be split"),
            (" ", "2", "is empty"),
            (LINEAR, "1", "registered already"),
        ]:
            with self.assertRaisesRegex(ClipperException, says):
                self.deploy(version, image)
        with self.assertRaisesRegex(ClipperException, "at most|expected 0 to"):
            self.deploy("2", num_replicas=100000)
        self.assertEqual(self.clipper.get_all_models(), ["linear:1"])


class TestInstance(Cluster):
    def test_an_instance_is_inspected_by_clippers_metrics(self):
        self.serve()
        metrics = self.clipper.inspect_instance()
        named = {}
        for kind in ("counters", "ratio_counters", "meters", "histograms"):
            for metric in metrics[kind]:
                named.update(metric)
        for name, metric in named.items():
            for member, value in metric.items():
                self.assertIsInstance(value, str, f"{member} of {name}")
        self.assertGreaterEqual(int(named["model:linear:1:num_predictions"]["count"]), 1)
        latency = named["model:linear:1:prediction_latency"]
        self.assertEqual(latency["unit"], "microseconds")
        self.assertGreater(float(latency["p99"]), 0)
        self.assertGreaterEqual(float(named["model:linear:1:batch_size"]["mean"]), 1)
        self.assertLessEqual(float(named["app:digits:default_prediction_ratio"]["ratio"]), 1)

    def test_prometheus_reads_the_metric_address(self):
        connection = http.client.HTTPConnection(self.clipper.get_metric_addr())
        self.addCleanup(connection.close)
        connection.request("GET", "/metrics")
        self.assertIn(b"skysail_http_responses_total", connection.getresponse().read())

    def test_logs_are_written_to_files(self):
        self.serve()
        with tempfile.TemporaryDirectory() as folder:
            files = self.clipper.get_clipper_logs(os.path.join(folder, "logs"))
            names = sorted(os.path.basename(file) for file in files)
            self.assertEqual(names, ["frontend.log", "linear-1-replica-0.log"])
            for file in files:
                self.assertTrue(os.path.isabs(file) and os.path.exists(file), file)

    def test_another_connection_finds_the_same_instance(self):
        self.serve()
        by_directory = SkysailContainerManager(data_dir=self.manager.data_dir)
        by_address = SkysailContainerManager(management_addr=self.clipper.cm.get_admin_addr())
        for manager in (by_directory, by_address):
            other = ClipperConnection(manager)
            with self.assertRaises(UnconnectedException):
                other.get_all_apps()
            other.connect()
            self.assertEqual(other.get_all_apps(), ["digits"])
            self.assertEqual(other.get_query_addr(), self.clipper.get_query_addr())
        by_directory.start_clipper()
        self.assertEqual(by_directory.get_query_addr(), self.clipper.get_query_addr())
        by_address.stop_all()
        self.assertEqual(self.clipper.get_all_model_replicas(), [])
        by_directory.stop_all()
        with self.assertRaisesRegex(ClipperException, "no running Skysail was found"):
            by_directory.connect()

    def test_everything_ends_with_the_instance(self):
        self.serve()
        replicas = self.manager._replicas("linear", "1")
        self.clipper.stop_all(graceful=False)
        for replica in replicas:
            until("the replica to end", lambda: not os.path.exists(f"/proc/{replica['pid']}"))
        with self.assertRaisesRegex(ClipperException, "not connected"):
            self.clipper.get_query_addr()
        self.clipper.stop_all()


class TestStart(unittest.TestCase):
    def manager(self, **more):
        ports = {"query_port": 0, "management_port": 0, "rpc_port": 0}
        return SkysailContainerManager(**{"executable": SKYSAIL, **ports, **more})

    def test_what_was_registered_is_there_after_a_restart(self):
        with tempfile.TemporaryDirectory() as folder:
            for is_first in (True, False):
                manager = self.manager(data_dir=folder)
                self.addCleanup(manager.stop_all)
                clipper = ClipperConnection(manager)
                clipper.start_clipper(cache_size=1 << 20, qf_http_thread_pool_size=2)
                if is_first:
                    clipper.register_application("digits", "floats", "-1", 100000)
                self.assertEqual(clipper.get_all_apps(), ["digits"])
                clipper.stop_all()

    def test_what_does_not_start_says_why(self):
        for manager, says in [
            (self.manager(executable="no-such-skysail"), "cannot start no-such-skysail"),
            (self.manager(serve_args=["--no-such-flag"]), "unexpected argument '--no-such-flag'"),
        ]:
            self.addCleanup(manager.stop_all)
            with self.assertRaisesRegex(ClipperException, says):
                ClipperConnection(manager).start_clipper()
        with self.assertRaisesRegex(ClipperException, "only 1 is possible"):
            ClipperConnection(self.manager()).start_clipper(num_frontend_replicas=2)


if __name__ == "__main__":
    unittest.main()
