"""Asks a running Parlor what it speaks, and calls it: what `grpcurl` does, by reflection, without any generated code.

    python3 call.py 127.0.0.1:50051                                  the services and their calls
    python3 call.py 127.0.0.1:50051 chat.v1.ChatService/History '{"room":"lobby","limit":2}'

A token, for the calls that need one, is taken from the variable PARLOR_TOKEN. Only calls of one question and one answer.
"""

import os
import sys

import grpc
from google.protobuf import json_format
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase


def main():
    address, *words = sys.argv[1:]
    with grpc.insecure_channel(address) as channel:
        known = ProtoReflectionDescriptorDatabase(channel)
        pool = DescriptorPool(known)
        if not words:
            for service in known.get_services():
                for method in pool.FindServiceByName(service).methods:
                    print(f"{service}/{method.name}")
            return
        name, question = words
        method = pool.FindServiceByName(name.split("/")[0]).methods_by_name[name.split("/")[1]]
        ask, answer = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
        call = channel.unary_unary("/" + name, ask.SerializeToString, answer.FromString)
        token = os.environ.get("PARLOR_TOKEN")
        bearer = [("authorization", f"Bearer {token}")] if token else []
        said = call(json_format.Parse(question, ask()), timeout=5, metadata=bearer)
        print(json_format.MessageToJson(said, preserving_proto_field_name=True))


if __name__ == "__main__":
    main()
