"""Reflection and health over gRPC, and the messages beside those of Triton's client."""

import queue
import threading
import unittest

import grpc
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from tritonclient.grpc import model_config_pb2, service_pb2

from served import PATIENCE_SECONDS, Served, until

INFERENCE = "inference.GRPCInferenceService"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


class Channel(Served):
    def setUp(self):
        self.channel = grpc.insecure_channel(self.front_end.query)
        self.addCleanup(self.channel.close)


class TestReflection(Channel):
    def file(self):
        """The file that defines the service, as the front end tells it."""
        database = ProtoReflectionDescriptorDatabase(self.channel)
        return database.FindFileContainingSymbol(INFERENCE)

    def test_the_services_are_listed(self):
        services = set(ProtoReflectionDescriptorDatabase(self.channel).get_services())
        self.assertLessEqual({INFERENCE, "grpc.health.v1.Health"}, services)

    def test_version_1_answers_as_its_forerunner_that_the_client_speaks(self):
        # The messages of both have the same fields.
        call = self.channel.stream_stream(
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            reflection_pb2.ServerReflectionRequest.SerializeToString,
            reflection_pb2.ServerReflectionResponse.FromString)
        asked = [reflection_pb2.ServerReflectionRequest(list_services=""),
                 reflection_pb2.ServerReflectionRequest(file_containing_symbol=INFERENCE)]
        listed, found = call(iter(asked), timeout=PATIENCE_SECONDS)
        self.assertIn(INFERENCE, [one.name for one in listed.list_services_response.service])
        [file] = found.file_descriptor_response.file_descriptor_proto
        self.assertEqual(descriptor_pb2.FileDescriptorProto.FromString(file), self.file())

    def test_every_message_and_field_is_one_of_tritons(self):
        compared = 0
        for message in messages(self.file().message_type, "inference"):
            theirs = {field.name: shape(field) for field in find(message.full_name).field}
            for field in message.field:
                self.assertEqual(shape(field), theirs[field.name], message.full_name)
                compared += 1
        self.assertGreater(compared, 100)

    def test_every_enumeration_has_tritons_numbers(self):
        enums = {enum.name: enum for enum in self.file().enum_type}
        self.assertIn("DataType", enums)
        for name, enum in enums.items():
            theirs = model_config_pb2.DESCRIPTOR.enum_types_by_name[name].values_by_name
            expected = {value.name: theirs[value.name].number for value in enum.value}
            self.assertEqual({value.name: value.number for value in enum.value}, expected)

    def test_every_method_is_one_of_tritons(self):
        [ours] = self.file().service
        theirs = descriptor_pb2.ServiceDescriptorProto()
        service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].CopyToProto(theirs)
        parts = ("name", "input_type", "output_type", "client_streaming", "server_streaming")
        methods = lambda service: {
            tuple(getattr(method, part) for part in parts) for method in service.method}
        self.assertEqual(methods(ours), methods(theirs))

    def test_a_client_can_be_made_of_it_alone(self):
        pool = DescriptorPool(ProtoReflectionDescriptorDatabase(self.channel))
        [live] = pool.FindServiceByName(INFERENCE).methods[:1]
        self.assertEqual(live.name, "ServerLive")
        ask, answer = GetMessageClass(live.input_type), GetMessageClass(live.output_type)
        call = self.channel.unary_unary(
            f"/{INFERENCE}/{live.name}", ask.SerializeToString, answer.FromString)
        self.assertTrue(call(ask()).live)


class Message:
    """A message of a file, with its full name."""

    def __init__(self, message, scope):
        self.full_name = f"{scope}.{message.name}"
        self.field = message.field


def messages(found, scope):
    """Messages and those inside them, without the entries of maps."""
    for message in found:
        one = Message(message, scope)
        if not message.options.map_entry:
            yield one
        yield from messages(message.nested_type, one.full_name)


def find(full_name):
    """Triton's message of that name."""
    proto = descriptor_pb2.DescriptorProto()
    service_pb2.DESCRIPTOR.pool.FindMessageTypeByName(full_name).CopyToProto(proto)
    return proto


def shape(field):
    """What of a field stands on the wire, and its name."""
    return field.name, field.number, field.label, field.type, field.type_name


class TestHealth(Channel):
    models = ("fp32", "absent")

    def setUp(self):
        super().setUp()
        self.stub = health_pb2_grpc.HealthStub(self.channel)

    def check(self, service):
        request = health_pb2.HealthCheckRequest(service=service)
        return self.stub.Check(request, timeout=PATIENCE_SECONDS).status

    def watch(self, service):
        """What is told of a service from now on."""
        told = queue.Queue()
        call = self.stub.Watch(health_pb2.HealthCheckRequest(service=service))
        self.addCleanup(call.cancel)

        def collect():
            try:
                for response in call:
                    told.put(response.status)
            except grpc.RpcError:
                pass  # it was cancelled

        threading.Thread(target=collect, daemon=True).start()
        return lambda: told.get(timeout=PATIENCE_SECONDS)

    def repository(self, verb, model="fp32"):
        answer = self.front_end.ask("POST", f"/v2/repository/models/{model}/{verb}")
        self.assertEqual(answer.status, 200, answer.body)

    def test_the_front_end_the_service_and_models_are_checked(self):
        for service, status in [("", SERVING), (INFERENCE, SERVING), ("fp32", SERVING),
                                ("absent", NOT_SERVING)]:
            self.assertEqual(self.check(service), status, service)
        with self.assertRaises(grpc.RpcError) as raised:
            self.check("nobody")
        self.assertEqual(raised.exception.code(), grpc.StatusCode.NOT_FOUND)

    def test_each_is_watched_from_its_status_now(self):
        for service, status in [("", SERVING), (INFERENCE, SERVING), ("fp32", SERVING),
                                ("absent", NOT_SERVING), ("nobody", UNKNOWN)]:
            self.assertEqual(self.watch(service)(), status, service)

    def test_a_watch_sees_a_model_go_and_come(self):
        told = self.watch("fp32")
        self.assertEqual(told(), SERVING)
        self.repository("unload")
        self.assertEqual(told(), NOT_SERVING)
        self.assertEqual(self.check("fp32"), NOT_SERVING)
        self.assertEqual(self.check(""), SERVING)
        self.repository("load")
        self.assertEqual(told(), SERVING)

    def test_a_watch_sees_a_model_that_is_new(self):
        told = self.watch("int8")
        self.assertEqual(told(), UNKNOWN)
        self.front_end.deploy("int8")
        status = told()
        if status == NOT_SERVING:
            status = told()
        self.assertEqual(status, SERVING)


class TestCalls(Channel):
    def test_unknown_methods_and_services_are_unimplemented(self):
        for path in [f"/{INFERENCE}/Nothing", "/nobody.Service/Call"]:
            call = self.channel.unary_unary(path, bytes, bytes)
            with self.assertRaises(grpc.RpcError) as raised:
                call(b"", timeout=PATIENCE_SECONDS)
            self.assertEqual(raised.exception.code(), grpc.StatusCode.UNIMPLEMENTED, path)

    def test_what_is_no_message_is_refused(self):
        call = self.channel.unary_unary(f"/{INFERENCE}/ModelInfer", bytes, bytes)
        with self.assertRaises(grpc.RpcError) as raised:
            call(b"\xff\xff\xff", timeout=PATIENCE_SECONDS)
        codes = [grpc.StatusCode.INTERNAL, grpc.StatusCode.INVALID_ARGUMENT]
        self.assertIn(raised.exception.code(), codes)

    def test_many_calls_share_a_connection(self):
        request = service_pb2.ServerLiveRequest().SerializeToString()
        call = self.channel.unary_unary(f"/{INFERENCE}/ServerLive", bytes, bytes)
        futures = [call.future(request, timeout=PATIENCE_SECONDS) for _ in range(500)]
        until("all calls", lambda: all(future.done() for future in futures))
        for future in futures:
            self.assertEqual(future.result(), b"\x08\x01")


if __name__ == "__main__":
    unittest.main()
