"""A gRPC service and its client, without generated code: messages are bytes.

    grpc_plants.py serve                        prints its port, then serves until it is killed
    grpc_plants.py call HOST:PORT TOKEN [CA]    calls every method through that address; prints what it saw
"""

import os
import queue
import sys
from concurrent import futures

import grpc

SERVICE = "plants.Plants"
OPTIONS = [("grpc.max_receive_message_length", 8 << 20), ("grpc.max_send_message_length", 8 << 20)]


def echo(request, context):
    context.set_trailing_metadata((("x-length", str(len(request))), ("x-name", os.environ.get("UPSTREAM_NAME", ""))))
    return request


def count(request, context):
    for number in range(int(request)):
        yield b"%d" % number


def talk(requests, context):
    # Answers each message before it reads the next one: neither side may wait for the other's end.
    for request in requests:
        yield request.upper()


def fail(request, context):
    context.set_trailing_metadata((("x-reason", "wilted"),))
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "the plant has wilted")


def serve():
    handlers = {
        "Echo": grpc.unary_unary_rpc_method_handler(echo),
        "Count": grpc.unary_stream_rpc_method_handler(count),
        "Talk": grpc.stream_stream_rpc_method_handler(talk),
        "Fail": grpc.unary_unary_rpc_method_handler(fail),
    }
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8), options=OPTIONS)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"listening on 127.0.0.1:{port}", flush=True)
    server.wait_for_termination()


def call(address, token, ca=None):
    if ca:
        with open(ca, "rb") as file:
            channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(file.read()), OPTIONS)
    else:
        channel = grpc.insecure_channel(address, OPTIONS)
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    with channel:
        unary = channel.unary_unary(f"/{SERVICE}/Echo")
        for size in (0, 5, 3 << 20):
            answer, done = unary.with_call(b"p" * size, metadata=metadata, timeout=20)
            assert answer == b"p" * size, len(answer)
            trailers = dict(done.trailing_metadata())
            assert trailers["x-length"] == str(size), trailers
        print("served by", trailers["x-name"])

        stream = channel.unary_stream(f"/{SERVICE}/Count")(b"100", metadata=metadata, timeout=20)
        assert [int(message) for message in stream] == list(range(100))

        # Each next message is sent only after the answer to the one before has come.
        heard = []
        outbox = queue.Queue()
        conversation = channel.stream_stream(f"/{SERVICE}/Talk")(
            iter(outbox.get, None), metadata=metadata, timeout=20
        )
        for word in (b"rose", b"fern", b"moss"):
            outbox.put(word)
            heard.append(next(conversation))
        outbox.put(None)
        assert heard == [b"ROSE", b"FERN", b"MOSS"] and list(conversation) == [], heard
        print("talked", b" ".join(heard).decode())

        try:
            channel.unary_unary(f"/{SERVICE}/Fail")(b"", metadata=metadata, timeout=20)
            raise AssertionError("it did not fail")
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.FAILED_PRECONDITION, error
            assert dict(error.trailing_metadata())["x-reason"] == "wilted", error
            print("failed with", error.details())

        abandoned = channel.unary_stream(f"/{SERVICE}/Count")(b"100000000", metadata=metadata, timeout=20)
        next(abandoned)
        abandoned.cancel()
        print("done")


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        serve()
    elif sys.argv[1:2] == ["call"]:
        call(*sys.argv[2:])
    else:
        sys.exit(__doc__)
