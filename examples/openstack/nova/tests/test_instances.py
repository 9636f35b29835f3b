"""The same tests on each database that a job has; the account is the one that OpenStack's jobs agree on."""

import unittest

import psycopg2
import pymysql
from nova import instances

ACCOUNT = {"host": "127.0.0.1", "user": "openstack_citest", "password": "openstack_citest", "database": "openstack_citest"}


class Instances:
    def setUp(self):
        self.connection = self.connect()
        self.addCleanup(self.connection.close)
        self.connection.cursor().execute("DROP TABLE IF EXISTS instances")
        instances.migrate(self.connection)

    def test_an_instance_is_on_the_host_where_it_was_placed(self):
        instances.place(self.connection, "web", "compute1")
        instances.place(self.connection, "mail", "compute2")
        self.assertEqual(["web"], instances.on(self.connection, "compute1"))


class OnMySQL(Instances, unittest.TestCase):
    def connect(self):
        return pymysql.connect(**ACCOUNT)


class OnPostgreSQL(Instances, unittest.TestCase):
    def connect(self):
        return psycopg2.connect(**ACCOUNT)
