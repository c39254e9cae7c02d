"""Signs requests with botocore, at a time that it is told, for a test that compares.

Reads a JSON list of cases from standard input and prints the list of what became of them: the Authorization header of a case
of kind "headers", the URL of a case of kind "query". Sends nothing.
"""

import datetime
import json
import sys

import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials


def sign(case):
    now = datetime.datetime.fromtimestamp(case["unix_seconds"], datetime.timezone.utc)
    botocore.auth.get_current_datetime = lambda *_, **__: now.replace(tzinfo=None)
    credentials = Credentials(case["access_key_id"], case["secret_access_key"], case.get("token"))
    request = AWSRequest(
        method=case["method"], url=case["url"], headers=dict(case["headers"]), data=case["body"].encode()
    )
    if case["kind"] == "query":
        auth = botocore.auth.SigV4QueryAuth(
            credentials, case["service"], case["region"], expires=case["expires"]
        )
        auth.add_auth(request)
        return request.url
    botocore.auth.SigV4Auth(credentials, case["service"], case["region"]).add_auth(request)
    return request.headers["Authorization"]


json.dump([sign(case) for case in json.load(sys.stdin)], sys.stdout)
