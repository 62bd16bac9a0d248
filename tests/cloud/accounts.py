"""All accounts of one test EC2, and EC2's behaviour over moto's for them."""

import shutil
import threading
from pathlib import Path

from moto.core import DEFAULT_ACCOUNT_ID

import images
import instances
import keys
import pages
import publication
import rules
import settings
import stacks
import templates
from account import Account
from wire import Conversation


class Accounts:
    """Accounts by number, made at first use."""

    def __init__(self, host, state: Path, region: str):
        self.host, self.state, self.region = host, state, region
        self.state.mkdir(parents=True, exist_ok=True)
        self._accounts: dict[str, Account] = {}
        self._conversations: dict[str, Conversation] = {}
        self._lock = threading.RLock()
        for part in (instances, images, keys, publication, rules, settings, templates, pages, stacks):
            part.patch(self)
        self.account(DEFAULT_ACCOUNT_ID)

    def account(self, number: str) -> Account:
        account = self._accounts.get(number)
        return account or self._make(number)

    def conversation(self, number: str) -> Conversation:
        self.account(number)
        return self._conversations[number]

    def _make(self, number: str) -> Account:
        with self._lock:
            if number not in self._accounts:
                # moto asks for the account while its things are made.
                account = self._accounts[number] = Account(number, self.host, self.state / number, self.region)
                self._conversations[number] = Conversation(account)
            return self._accounts[number]

    def close(self) -> None:
        for account in list(self._accounts.values()):
            stacks.close(account)
            account.close()
        self.host.close()
        shutil.rmtree(self.state, ignore_errors=True)
