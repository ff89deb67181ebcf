FROM a
ADD --keep-git-dir=true https://example.org/team/repo.git#v1 /src
ADD --checksum=sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 https://example.org/e /e
ADD --chown=a:b --chmod=644 --link x.tar y/
ADD --exclude=*.o . /o
ADD a b c /d/
