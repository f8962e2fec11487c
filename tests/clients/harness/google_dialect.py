"""
Serves the S3 of moto as Google's XML interface, on the given port.

The two interfaces have the same paths, listings and multipart uploads. Two differences matter here: the precondition
for creating an object, and the authentication.
"""

import sys

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple

ANYBODY = "AWS4-HMAC-SHA256 Credential=anybody/20260101/us-east-1/s3/aws4_request"


class Dialect:
    def __init__(self, s3):
        self.s3 = s3

    def __call__(self, environ, start_response):
        if environ.get("HTTP_AUTHORIZATION", "").startswith("Bearer "):
            environ["HTTP_AUTHORIZATION"] = ANYBODY
        # Generation 0 stands for an object that does not exist.
        if environ.get("HTTP_X_GOOG_IF_GENERATION_MATCH") == "0":
            environ["HTTP_IF_NONE_MATCH"] = "*"
        return self.s3(environ, start_response)


run_simple("127.0.0.1", int(sys.argv[1]), Dialect(DomainDispatcherApplication(create_backend_app)), threaded=True)
