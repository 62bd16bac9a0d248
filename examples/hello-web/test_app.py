"""What the API promises; run with `python -m unittest` where Flask is."""

import unittest
from unittest import mock

import app


class Api(unittest.TestCase):
    def setUp(self):
        with mock.patch.object(app, "_ask", side_effect=["token", "i-0abc"]):
            self.client = app.create_app().test_client()

    def test_greets_and_names_the_instance(self):
        answer = self.client.get("/")
        self.assertEqual((answer.status_code, answer.json["instance"]), (200, "i-0abc"))

    def test_is_healthy(self):
        self.assertEqual(self.client.get("/healthz").json, {"status": "ok"})

    def test_errors_are_json(self):
        answer = self.client.get("/nowhere")
        self.assertEqual((answer.status_code, answer.json["error"]), (404, "Not Found"))
        self.assertEqual(self.client.post("/").status_code, 405)

    def test_off_ec2_the_host_answers(self):
        with mock.patch.object(app, "_ask", side_effect=OSError):
            self.assertTrue(app.instance_id())


if __name__ == "__main__":
    unittest.main()
