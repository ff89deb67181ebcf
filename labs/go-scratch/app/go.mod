module example.com/finished-goods

go 1.22
