#!/bin/sh
echo web
for word; do echo "$word"; done
