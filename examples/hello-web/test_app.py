"""What the API promises; run with `python -m unittest` where Flask is."""

import tempfile
import unittest
from pathlib import Path
from unittest import mock

import app


BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


class Api(unittest.TestCase):
    def setUp(self):
        with mock.patch.object(app, "_ask", side_effect=["token", "i-0abc"]), mock.patch.object(app, "version", return_value="c0ffee"):
            self.flask = app.create_app()
        self.client = self.flask.test_client()

    def test_greets_and_names_the_instance_and_its_version(self):
        answer = self.client.get("/")
        self.assertEqual((answer.status_code, answer.json["instance"], answer.json["version"]), (200, "i-0abc", "c0ffee"))
        page = self.client.get("/", headers=BROWSER)
        self.assertEqual(page.mimetype, "text/html")
        self.assertIn("i-0abc, c0ffee", page.text)

    def test_each_answer_says_who_gave_it_and_what_that_runs(self):
        for path in ("/", "/healthz", "/nowhere"):
            headers = self.client.get(path).headers
            self.assertEqual((headers["X-Instance"], headers["X-Version"]), ("i-0abc", "c0ffee"), path)

    def test_is_healthy(self):
        self.assertEqual(self.client.get("/healthz").json, {"status": "ok"})

    def test_errors_are_json_and_pages_for_browsers(self):
        answer = self.client.get("/nowhere")
        self.assertEqual((answer.status_code, answer.json["error"]), (404, "Not Found"))
        self.assertEqual(self.client.post("/").status_code, 405)
        page = self.client.get("/nowhere", headers=BROWSER)
        self.assertEqual((page.status_code, page.mimetype), (404, "text/html"))
        self.assertIn("<h1>Not Found</h1>", page.text)

    def test_what_goes_wrong_is_said_and_not_shown(self):
        self.flask.add_url_rule("/broken", view_func=lambda: {}["secret"])
        with self.assertLogs(self.flask.logger, "ERROR"):
            answer = self.client.get("/broken")
        self.assertEqual((answer.status_code, answer.json["detail"]), (500, "see the log"))
        self.assertNotIn("secret", answer.text)

    def test_off_ec2_the_host_answers(self):
        with mock.patch.object(app, "_ask", side_effect=OSError):
            self.assertTrue(app.instance_id())


class Version(unittest.TestCase):
    def test_it_is_the_commit_that_is_checked_out_however_git_keeps_it(self):
        with tempfile.TemporaryDirectory() as folder:
            below, git = Path(folder) / "examples/hello-web", Path(folder) / ".git"
            below.mkdir(parents=True)
            self.assertEqual(app.version(below), app.version(Path(folder)), "no repository, or one above both")
            (git / "refs/heads").mkdir(parents=True)
            for files, wanted in (({"HEAD": "ref: refs/heads/main\n"}, "unknown"), ({"packed-refs": "# pack-refs\naaa refs/heads/main\n"}, "aaa"),
                                  ({"refs/heads/main": "bbb\n"}, "bbb"), ({"HEAD": "ccc\n"}, "ccc")):
                for name, text in files.items():
                    (git / name).write_text(text)
                self.assertEqual(app.version(below), wanted)


if __name__ == "__main__":
    unittest.main()
